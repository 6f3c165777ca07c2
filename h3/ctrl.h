/*
 * ctrl - the peer's control stream (RFC 9114 6.2.1, 7.2.3 to 7.2.7).
 *
 * A reader of frames that stops behind each frame that means something. It keeps
 * one varint, never a frame. The first frame must be SETTINGS, and only the first.
 * Push is not used: no MAX_PUSH_ID is ever sent, nothing is ever promised, so any
 * CANCEL_PUSH names an ID that can't be.
 *
 * Invariant: `left` bytes of the payload of `frame.type` are still to come while
 * `inside`, else a frame header is being read.
 */
#ifndef H3_CTRL_H
#define H3_CTRL_H

#include "h3/frame.h"
#include "h3/h3.h"
#include "h3/settings.h"

struct h3_ctrl {
    bool from_server; /* which side's stream it is */
    bool have_settings;
    struct h3_settings settings;
    struct h3_settings_rd settings_rd;
    struct h3_frame_rd frame;
    bool inside;
    uint64_t left;
    struct h3_varint_rd id_rd;
    uint64_t id;
    bool have_id;
    uint64_t goaway;   /* the last GOAWAY; UINT64_MAX before the first */
    uint64_t max_push; /* the last MAX_PUSH_ID; 0 before the first */
    const char *why;   /* of the last error; static text */
};

void h3_ctrl_init(struct h3_ctrl *c, bool from_server);

/*
 * Take bytes until one event is there or all are taken; `*used` grows by their
 * number. The event is SETTINGS (c->settings, which stay) or GOAWAY with an ID lower
 * than before; `ev->type` stays as it was if there is none.
 *
 * Returns 0, or a connection error:
 *   H3_MISSING_SETTINGS   the first frame is another (6.2.1)
 *   H3_FRAME_UNEXPECTED   SETTINGS again, or a frame that may not come here (7.2)
 *   H3_FRAME_ERROR        a payload that does not hold exactly its fields (7.1)
 *   H3_SETTINGS_ERROR     see h3_settings_rd_feed
 *   H3_ID_ERROR           GOAWAY with a larger ID than before (5.2), or from a server
 *                         with one that is no request stream (7.2.6); MAX_PUSH_ID
 *                         that is lower than before (7.2.7); CANCEL_PUSH (7.2.3)
 *   H3_EXCESSIVE_LOAD     SETTINGS longer than H3_SETTINGS_MAX_BYTES
 */
int h3_ctrl_read(struct h3_ctrl *c, struct span in, size_t *used, struct h3_event *ev);

#endif
