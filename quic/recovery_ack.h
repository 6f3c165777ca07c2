/*
 * recovery_ack - the half of recovery that takes acknowledgements in and finds losses;
 * shared by recovery.c and recovery_ack.c only.
 */
#ifndef QUIC_RECOVERY_ACK_H
#define QUIC_RECOVERY_ACK_H

#include "quic/recovery.h"

#define RECOVERY_ACKED_RANGES 256 /* of acknowledged numbers remembered per space */
#define RECOVERY_RUNS_KEPT    512 /* verdict runs whose memory isn't given back while packets flow */

/* Sent, must be heard of, and not yet acknowledged or declared lost. */
static inline bool recovery_outstanding(const struct sent_packet *p)
{
    return (p->flags & (SENT_ELICITING | SENT_IN_FLIGHT)) &&
           !(p->flags & (SENT_ACKED | SENT_LOST));
}

/* Start to gather verdicts for `space`; whatever was not pulled is forgotten. */
void recovery_open_verdicts(struct recovery *r, enum quic_space space);

/*
 * DetectAndRemoveLostPackets and OnPacketsLost of RFC 9002 A.10 and B.8: declare packets
 * of `space` lost, with a verdict each, after those that are there already; tell
 * congestion control; set loss_time.
 */
void recovery_detect_lost(struct recovery *r, enum quic_space space, ns_t now);

#endif
