/*
 * demo_traffic - real TCP and a small ping, by the kernel's own stack, inside the demo.
 *
 * The far host runs demo_far: it takes TCP connections and echoes UDP. The near host runs
 * demo_near: it waits until the far host answers through the tunnel, sends for a while in
 * each direction, and pings all the time. Every byte is a function of its position, so the
 * receiver can tell an intact stream from any other. What happens is told through
 * `struct demo_score` in shared memory; whoever draws it only reads.
 */
#ifndef APP_DEMO_TRAFFIC_H
#define APP_DEMO_TRAFFIC_H

#include <stdatomic.h>
#include <sys/types.h>

#include "quic/types.h"

enum demo_phase { DEMO_CONNECTING, DEMO_IDLE, DEMO_UP, DEMO_DOWN, DEMO_DONE, DEMO_FAILED };

#define DEMO_PINGS_MAX 65536

struct demo_flow {
    _Atomic uint64_t sent, received; /* payload bytes */
    _Atomic uint64_t wrong;          /* bytes that are not what they should be */
    _Atomic uint64_t start, end;     /* of the transfer, CLOCK_MONOTONIC ns */
};

struct demo_pings {
    _Atomic uint32_t n, lost;
    uint32_t rtt_us[DEMO_PINGS_MAX];
};

struct demo_score {
    _Atomic int phase;        /* enum demo_phase */
    struct demo_flow flow[2]; /* up: near to far; down */
    struct demo_pings idle, loaded;
    _Atomic uint32_t last_rtt_us;
    char why[160]; /* with DEMO_FAILED */
};

struct demo_traffic {
    const char *far_ip; /* the far host's address inside the tunnel */
    uint16_t port;
    ns_t each;     /* how long to send in each direction */
    ns_t patience; /* how long to wait for the tunnel */
    struct demo_score *score;
};

/* Both have the shape of ns_main_fn: `arg` is a struct demo_traffic. Exit status 0 or 1. */
int demo_far(void *arg, int lifeline);
int demo_near(void *arg, int lifeline);

#endif
