/*
 * demo_traffic - real TCP and a small ping, by the kernel's own stack, inside the demo.
 *
 * The far host runs demo_far: it sends TCP to whoever connects and echoes UDP. The near host
 * runs demo_near: it waits until the far host answers through the tunnel, then receives one flow
 * after the other (`enum demo_run`), and pings all the time. Every byte is a function of its
 * position, so the receiver can tell an intact stream from any other. What happens is told
 * through `struct demo_score` in shared memory; whoever draws it only reads, but for `window`,
 * by which he says what the pings are to be counted for.
 */
#ifndef APP_DEMO_TRAFFIC_H
#define APP_DEMO_TRAFFIC_H

#include <stdatomic.h>
#include <sys/types.h>

#include "quic/types.h"

enum demo_phase {
    DEMO_CONNECTING,
    DEMO_IDLE,    /* the tunnel is up: pings alone */
    DEMO_READY,   /* for DEMO_SETTLE, so that the links can be made as `run` wants them */
    DEMO_SENDING, /* the flow of `run` */
    DEMO_DONE,
    DEMO_FAILED
};

/* Flows, one after the other: over link A alone, B alone, and both. */
enum demo_run { DEMO_A, DEMO_B, DEMO_BOTH, DEMO_RUNS };

/* What is measured: each alone; both, the first cut, and back again; the rest of the time. */
enum demo_window {
    WIN_A,
    WIN_B,
    WIN_BOTH,
    WIN_CUT,
    WIN_BACK,
    WIN_IDLE,
    WIN_BETWEEN,
    DEMO_WINDOWS
};

#define DEMO_PINGS_MAX 65536
#define DEMO_SETTLE    NS_PER_S

struct demo_flow {
    _Atomic uint64_t sent, received; /* payload bytes */
    _Atomic uint64_t wrong;          /* bytes that are not what they should be */
    _Atomic uint64_t start;          /* of the transfer, CLOCK_MONOTONIC ns; 0: not yet */
};

struct demo_pings {
    _Atomic uint32_t n;
    uint32_t rtt_us[DEMO_PINGS_MAX];
};

struct demo_score {
    _Atomic int phase, run, window;
    struct demo_flow flow[DEMO_RUNS];
    struct demo_pings pings[DEMO_WINDOWS];
    _Atomic uint32_t pings_sent, pings_answered, last_rtt_us;
    _Atomic uint64_t pause; /* the longest time without a byte, ns, from WIN_CUT on */
    char why[160];          /* with DEMO_FAILED */
};

struct demo_traffic {
    const char *far_ip; /* the far host's address inside the tunnel */
    const char *tun;    /* the near host's device: nothing goes by another one */
    uint16_t port;
    ns_t each[DEMO_RUNS]; /* how long to send */
    ns_t patience;        /* how long to wait for the tunnel */
    struct demo_score *score;
};

/* Both have the shape of ns_main_fn: `arg` is a struct demo_traffic. Exit status 0 or 1. */
int demo_far(void *arg, int lifeline);
int demo_near(void *arg, int lifeline);

#endif
