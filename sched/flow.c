#include "sched/flow.h"

#include <string.h>

/* A window is over, or several. */
static void roll(struct flow *f, ns_t now)
{
    ns_t length = now - f->window;
    uint32_t least = UINT32_MAX, most = 0;
    bool idle = true;

    f->busy = (uint32_t)(f->window_filled * 1024 / length);
    memmove(f->rate + 1, f->rate, (FLOW_WINDOWS - 1) * sizeof(f->rate[0]));
    memmove(f->share + 1, f->share, (FLOW_WINDOWS - 1) * sizeof(f->share[0]));
    f->rate[0] = (uint32_t)((double)f->window_bytes * (double)FLOW_WINDOW / (double)length);
    f->share[0] = (uint16_t)f->busy;
    if (f->windows < FLOW_WINDOWS)
        f->windows++;
    for (size_t i = 0; i < f->windows; i++) {
        least = f->rate[i] < least ? f->rate[i] : least;
        most = f->rate[i] > most ? f->rate[i] : most;
        idle &= f->share[i] < 512;
    }
    f->steady = f->lane == SCHED_BULK && !f->elastic && idle && f->windows == FLOW_WINDOWS &&
                most < least + least / 2;
    f->window = now;
    f->window_filled = 0;
    f->window_bytes = 0;
}

void flow_account(struct flow *f, ns_t now)
{
    ns_t dt = ns_sub(now, f->last);

    if (f->last == 0 || flow_quiet(f, now)) {
        *f = (struct flow){.elastic = f->elastic, .last = now, .window = now};
        return;
    }
    if (f->filled) {
        f->score = ns_min(f->score + dt, 2 * FLOW_UP_TIME);
        f->window_filled += dt;
    } else {
        f->score = ns_sub(f->score, dt);
        if (f->score == 0 && f->lane == SCHED_PROMPT)
            f->moved = 0;
    }
    f->last += dt;
    if (f->last - f->window >= FLOW_WINDOW)
        roll(f, f->last);
}
