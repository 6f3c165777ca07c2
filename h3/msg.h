/*
 * msg - what makes a header or trailer section well-formed (RFC 9114 4.1.2 to 4.5,
 * RFC 9220, and the field syntax of RFC 9110 5.5 and 5.6.2).
 *
 * Pure functions of a field list. The same rules judge what was received and what
 * is about to be sent.
 */
#ifndef H3_MSG_H
#define H3_MSG_H

#include "h3/fields.h"
#include "quic/types.h"

enum h3_msg_kind { H3_MSG_REQUEST, H3_MSG_RESPONSE, H3_MSG_TRAILERS };

/* What the frames behind a section are judged by. */
struct h3_msg {
    bool connect;    /* request: the method is CONNECT */
    bool extended;   /* request: with :protocol (RFC 9220) */
    bool head;       /* request: the method is HEAD, so the response has no content */
    unsigned status; /* response: 100 to 999 */
    bool has_length; /* there is a content-length ... */
    uint64_t length; /* ... of this many bytes */
};

/*
 * Judge a section. `extended_ok` says whether :protocol is allowed in a request.
 *
 * Returns 0 with `*m` filled in, or H3_MESSAGE_ERROR for a malformed section, with
 * the reason in `*why` (static text):
 *   a name that is empty, has an upper-case letter or another character that no
 *     token has; a value with a control character or white space at an end
 *   a pseudo-header field that is unknown, doubled, of another kind of section,
 *     behind an ordinary field, or in trailers; or one with an invalid value
 *   a request without :method; without :scheme or :path (except CONNECT); with
 *     neither :authority nor host where the scheme demands one; with both unequal;
 *     a CONNECT with :scheme or :path (unless :protocol is there) or without
 *     host and port in :authority; :protocol without CONNECT or where not allowed
 *   a response without a :status of three digits, or with 101
 *   a connection-specific field, or te other than "trailers" in a request
 *   a content-length that is no number or comes twice
 */
int h3_msg_check(enum h3_msg_kind kind, const struct h3_field *fields, size_t n,
                 bool extended_ok, struct h3_msg *m, const char **why);

#endif
