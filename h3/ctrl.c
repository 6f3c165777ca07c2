#include "h3/ctrl.h"

void h3_ctrl_init(struct h3_ctrl *c, bool from_server)
{
    *c = (struct h3_ctrl){.from_server = from_server, .goaway = UINT64_MAX, .why = ""};
    h3_settings_default(&c->settings);
}

static int fail(struct h3_ctrl *c, int code, const char *why)
{
    c->why = why;
    return code;
}

/* A frame header is there: may it come, and how long may it be? */
static int begin(struct h3_ctrl *c)
{
    uint64_t type = c->frame.type, len = c->frame.len;
    int rc;

    if (!c->have_settings && type != H3_FRAME_SETTINGS)
        return fail(c, H3_MISSING_SETTINGS, "the control stream does not begin with SETTINGS");
    rc = h3_frame_check(type, H3_ON_CONTROL, c->from_server);
    if (rc != 0)
        return fail(c, rc, "frame not allowed on the control stream");
    c->inside = true;
    c->left = len;
    c->have_id = false;
    c->id_rd = (struct h3_varint_rd){0};
    switch (type) {
    case H3_FRAME_SETTINGS:
        if (c->have_settings)
            return fail(c, H3_FRAME_UNEXPECTED, "second SETTINGS");
        if (len > H3_SETTINGS_MAX_BYTES)
            return fail(c, H3_EXCESSIVE_LOAD, "SETTINGS too long");
        h3_settings_rd_init(&c->settings_rd, &c->settings);
        return 0;
    case H3_FRAME_GOAWAY:
    case H3_FRAME_MAX_PUSH_ID:
    case H3_FRAME_CANCEL_PUSH:
        if (len == 0 || len > 8)
            return fail(c, H3_FRAME_ERROR, "frame is not one varint long");
        return 0;
    default:
        return 0;
    }
}

/* The next bytes of the payload, none beyond its end. */
static int payload(struct h3_ctrl *c, struct span in)
{
    size_t used = 0;
    int rc;

    switch (c->frame.type) {
    case H3_FRAME_SETTINGS:
        rc = h3_settings_rd_feed(&c->settings_rd, in);
        return rc == 0 ? 0 : fail(c, rc, "invalid setting");
    case H3_FRAME_GOAWAY:
    case H3_FRAME_MAX_PUSH_ID:
    case H3_FRAME_CANCEL_PUSH:
        if (!c->have_id && h3_varint_rd_feed(&c->id_rd, in, &used, &c->id) == 0)
            c->have_id = true;
        return used == in.n ? 0 : fail(c, H3_FRAME_ERROR, "bytes behind the ID of a frame");
    default:
        return 0;
    }
}

static int goaway(struct h3_ctrl *c, struct h3_event *ev)
{
    if (c->from_server && c->id % 4 != 0)
        return fail(c, H3_ID_ERROR, "GOAWAY with an ID that is no request stream");
    if (c->id > c->goaway)
        return fail(c, H3_ID_ERROR, "GOAWAY with a larger ID than before");
    if (c->id < c->goaway) {
        c->goaway = c->id;
        *ev = (struct h3_event){.type = H3_EV_GOAWAY, .goaway_id = c->id};
    }
    return 0;
}

/* The payload is complete. */
static int end(struct h3_ctrl *c, struct h3_event *ev)
{
    int rc;

    c->inside = false;
    switch (c->frame.type) {
    case H3_FRAME_SETTINGS:
        rc = h3_settings_rd_end(&c->settings_rd);
        if (rc != 0)
            return fail(c, rc, "SETTINGS ends inside a setting");
        c->have_settings = true;
        *ev = (struct h3_event){.type = H3_EV_SETTINGS, .settings = &c->settings};
        return 0;
    case H3_FRAME_GOAWAY:
    case H3_FRAME_MAX_PUSH_ID:
    case H3_FRAME_CANCEL_PUSH:
        if (!c->have_id)
            return fail(c, H3_FRAME_ERROR, "frame ends inside its ID");
        break;
    default:
        return 0;
    }
    if (c->frame.type == H3_FRAME_GOAWAY)
        return goaway(c, ev);
    if (c->frame.type == H3_FRAME_CANCEL_PUSH)
        return fail(c, H3_ID_ERROR, "CANCEL_PUSH without push");
    if (c->id < c->max_push)
        return fail(c, H3_ID_ERROR, "MAX_PUSH_ID is lower than before");
    c->max_push = c->id;
    return 0;
}

int h3_ctrl_read(struct h3_ctrl *c, struct span in, size_t *used, struct h3_event *ev)
{
    enum h3_event_type before = ev->type;
    size_t at = 0;
    int rc = 0;

    while (at < in.n && rc == 0 && ev->type == before) {
        if (!c->inside) {
            if (h3_frame_rd_feed(&c->frame, span_of(in.p + at, in.n - at), &at) == 0)
                rc = begin(c);
        } else {
            size_t n = in.n - at < c->left ? in.n - at : (size_t)c->left;

            rc = payload(c, span_of(in.p + at, n));
            at += n;
            c->left -= n;
        }
        if (rc == 0 && c->inside && c->left == 0)
            rc = end(c, ev);
    }
    *used += at;
    return rc;
}
