#include "mp/frames.h"

#include "quic/errors.h"
#include "quic/tparam.h"
#include "quic/wire.h"

/* Every frame begins with its type and a path ID (or, for two of them, a limit of those). */
static void path_get(struct wire_r *r, struct frame *f)
{
    f->path_id = wire_r_varint(r);
}

static void head_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    wire_w_varint(w, f->path_id);
}

static void path_ack_get(struct wire_r *r, struct frame *f)
{
    path_get(r, f);
    frame_ack_get(r, f);
}

static void path_ack_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->ack.ecn ? MP_PATH_ACK_ECN : MP_PATH_ACK);
    wire_w_varint(w, f->path_id);
    frame_ack_put(w, &f->ack);
}

static void value_get(struct wire_r *r, struct frame *f)
{
    path_get(r, f);
    f->ext.v[0] = wire_r_varint(r);
}

static void value_put(struct wire_w *w, const struct frame *f)
{
    head_put(w, f);
    wire_w_varint(w, f->ext.v[0]);
}

static void new_cid_get(struct wire_r *r, struct frame *f)
{
    path_get(r, f);
    frame_new_cid_get(r, f);
}

static void new_cid_put(struct wire_w *w, const struct frame *f)
{
    head_put(w, f);
    frame_new_cid_put(w, &f->new_cid);
}

static void seq_get(struct wire_r *r, struct frame *f)
{
    path_get(r, f);
    f->seq = wire_r_varint(r);
}

static void seq_put(struct wire_w *w, const struct frame *f)
{
    head_put(w, f);
    wire_w_varint(w, f->seq);
}

#define AT FRAME_AT(LEVEL_APP)
#define E  FRAME_ELICITING
#define C  FRAME_NON_FLIGHT
#define P  FRAME_PROBING

/* clang-format off */
const struct frame_row mp_frame_table[MP_FRAME_ROWS] = {
    {MP_PATH_ACK, MP_PATH_ACK_ECN, "PATH_ACK",                    AT, C,     LOSS_NONE,  path_ack_get, path_ack_put},
    {MP_PATH_ABANDON, MP_PATH_ABANDON, "PATH_ABANDON",            AT, E,     LOSS_ITEM,  value_get,    value_put},
    {MP_PATH_STATUS_BACKUP, MP_PATH_STATUS_AVAILABLE, "PATH_STATUS", AT, E,  LOSS_STATE, value_get,    value_put},
    {MP_PATH_NEW_CONNECTION_ID, MP_PATH_NEW_CONNECTION_ID, "PATH_NEW_CONNECTION_ID",
                                                                  AT, E | P, LOSS_ITEM,  new_cid_get,  new_cid_put},
    {MP_PATH_RETIRE_CONNECTION_ID, MP_PATH_RETIRE_CONNECTION_ID, "PATH_RETIRE_CONNECTION_ID",
                                                                  AT, E,     LOSS_ITEM,  seq_get,      seq_put},
    {MP_MAX_PATH_ID, MP_MAX_PATH_ID, "MAX_PATH_ID",               AT, E,     LOSS_STATE, path_get,     head_put},
    {MP_PATHS_BLOCKED, MP_PATHS_BLOCKED, "PATHS_BLOCKED",         AT, E,     LOSS_STATE, path_get,     head_put},
    {MP_PATH_CIDS_BLOCKED, MP_PATH_CIDS_BLOCKED, "PATH_CIDS_BLOCKED",
                                                                  AT, E,     LOSS_STATE, seq_get,      seq_put},
};
/* clang-format on */

const size_t mp_frame_table_len = ARRAY_LEN(mp_frame_table);

void mp_tparam_encode(struct wire_w *w, uint64_t initial_max_path_id)
{
    wire_w_varint(w, MP_TPARAM_INITIAL_MAX_PATH_ID);
    wire_w_varint(w, varint_len(initial_max_path_id));
    wire_w_varint(w, initial_max_path_id);
}

int mp_tparam_find(struct span blob, uint64_t *max)
{
    struct span value;
    struct wire_r r;
    int rc = tparam_find(blob, MP_TPARAM_INITIAL_MAX_PATH_ID, &value);

    if (rc)
        return rc;
    r = wire_r_span(value);
    *max = wire_r_varint(&r);
    if (r.failed || wire_r_left(&r) > 0 || *max > MP_PATH_ID_MAX)
        return QUIC_TRANSPORT_PARAMETER_ERROR;
    return 0;
}
