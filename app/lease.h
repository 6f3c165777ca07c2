/*
 * lease - the token by which a client gets its addresses again.
 *
 * The server gives it with the answer to CONNECT (field "mqvpn-lease"), the client
 * shows it with the next request. It holds the slot, the addresses and an expiry,
 * sealed by an HMAC over these and the user's name under a secret that the server
 * keeps: it proves the claim without any table, across a restart of the server,
 * and is worth nothing to another user. The journal beside it only tells a
 * restarted server which slots to hold back for a while.
 */
#ifndef APP_LEASE_H
#define APP_LEASE_H

#include "app/pool.h"

#define LEASE_SECRET 32
#define LEASE_TOKEN  (4 + 4 + 16 + 8 + 16)       /* slot, v4, v6, expiry, HMAC */
#define LEASE_TEXT   ((LEASE_TOKEN * 4 + 2) / 3) /* characters as text */
#define LEASE_FIELD  "mqvpn-lease"

/* The token for slot `i`, valid until `expiry_s` (Unix time), as text with terminator. */
void lease_make(const uint8_t secret[LEASE_SECRET], const struct pool *p, uint32_t i,
                const char *user, uint64_t expiry_s, char out[LEASE_TEXT + 1]);

/*
 * The slot that `text` entitles `user` to at `now_s`, and in `*expiry_s` until when; or
 * POOL_NONE: not ours, another user's, expired, or of a pool that has changed since. Whether
 * somebody else has got the slot meanwhile is for pool_may_claim to say.
 */
uint32_t lease_check(const uint8_t secret[LEASE_SECRET], const struct pool *p, struct span text,
                     const char *user, uint64_t now_s, uint64_t *expiry_s);

/*
 * A client's side: the last token of `server` ("host:port") is kept in DIR, so that the
 * addresses stay the same when the client is started anew. lease_load leaves `out` empty
 * where there is none; lease_save returns 0 or -errno.
 */
void lease_load(const char *dir, const char *server, char out[LEASE_TEXT + 1]);
int lease_save(const char *dir, const char *server, const char *token);

/* The journal of leases: DIR/leases, appended to, compacted when opened. */
struct lease_journal {
    int fd; /* -1: not kept */
};

/*
 * Open DIR/leases, hold in `p` what is unexpired at `now_s`, at most until
 * now_s + `hold_s`. 0 or -errno; an unreadable line is skipped.
 */
int lease_journal_open(struct lease_journal *j, const char *dir, struct pool *p, uint64_t now_s,
                       uint64_t hold_s);
void lease_journal_add(struct lease_journal *j, uint32_t i, uint64_t expiry_s);
void lease_journal_close(struct lease_journal *j);

#endif
