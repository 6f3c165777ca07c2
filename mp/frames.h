/*
 * frames - the nine frames and the transport parameter of multipath QUIC (RFC 10069).
 *
 * Rows in the shape of quic/frame.h, to be handed to a connection through quic/ext.h. Every
 * frame begins with a path ID, in `struct frame.path_id`; what follows is, by row:
 *
 *   PATH_ACK, PATH_ACK with ECN     frame.ack, as ACK
 *   PATH_ABANDON                    frame.ext.v[0]: error code; no reason phrase
 *   PATH_STATUS_BACKUP, _AVAILABLE  frame.ext.v[0]: status sequence number
 *   PATH_NEW_CONNECTION_ID          frame.new_cid
 *   PATH_RETIRE_CONNECTION_ID       frame.seq
 *   MAX_PATH_ID, PATHS_BLOCKED      nothing: path_id is the maximum path ID itself
 *   PATH_CIDS_BLOCKED               frame.seq: the next sequence number
 *
 * All are legal in 1-RTT packets only. Path IDs are at most 2^32-1; which are in use is
 * for the life cycle of paths to judge, not for the codec.
 */
#ifndef MP_FRAMES_H
#define MP_FRAMES_H

#include "quic/frame.h"

enum {
    MP_PATH_ACK = 0x3e,
    MP_PATH_ACK_ECN = 0x3f,
    MP_PATH_ABANDON = 0x3e75,
    MP_PATH_STATUS_BACKUP = 0x3e76,
    MP_PATH_STATUS_AVAILABLE = 0x3e77,
    MP_PATH_NEW_CONNECTION_ID = 0x3e78,
    MP_PATH_RETIRE_CONNECTION_ID = 0x3e79,
    MP_MAX_PATH_ID = 0x3e7a,
    MP_PATHS_BLOCKED = 0x3e7b,
    MP_PATH_CIDS_BLOCKED = 0x3e7c
};

/* Error codes for PATH_ABANDON. */
enum {
    MP_NO_ERROR = 0x00,
    MP_APPLICATION_ABANDON_PATH = 0x3e,
    MP_PATH_RESOURCE_LIMIT_REACHED = 0x3e75,
    MP_PATH_UNSTABLE_OR_POOR = 0x3e76,
    MP_NO_CID_AVAILABLE_FOR_PATH = 0x3e77
};

#define MP_TPARAM_INITIAL_MAX_PATH_ID 0x3e
#define MP_PATH_ID_MAX                UINT32_MAX

#define MP_FRAME_ROWS 8
extern const struct frame_row mp_frame_table[MP_FRAME_ROWS];
extern const size_t mp_frame_table_len;

/* Append initial_max_path_id to encoded transport parameters. */
void mp_tparam_encode(struct wire_w *w, uint64_t initial_max_path_id);

/*
 * Look for initial_max_path_id among the peer's encoded transport parameters.
 *
 * Returns 0 with the value in `*max`; QUIC_DROP if it is not there, so that the peer does
 * not speak multipath; QUIC_TRANSPORT_PARAMETER_ERROR for a value that is no varint of the
 * whole length, or above 2^32-1.
 */
int mp_tparam_find(struct span blob, uint64_t *max);

#endif
