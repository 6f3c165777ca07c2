/* demo_show - what a person sees of the demo: a line that moves, and a table in the end. */
#ifndef APP_DEMO_SHOW_H
#define APP_DEMO_SHOW_H

#include "app/demo_stage.h"

/* Counters at one instant. */
struct demo_mark {
    ns_t at;
    uint64_t bytes;               /* received by the flow */
    uint64_t carried[DEMO_LINKS]; /* by each link */
};

/* From one instant to another; `to.at` 0: nothing was measured. */
struct demo_span {
    struct demo_mark from, to;
};

/* "link A alone" and so on, in at most 24 columns. */
const char *demo_show_name(enum demo_window w);

/* What the demo is about to do. */
void demo_show_intro(const struct demo_stage *s);

/* The line for `span`; on a terminal it replaces the one before. */
void demo_show_line(const struct demo_stage *s, enum demo_window w,
                    const struct demo_span *span, bool tty);

/* The table: of every window of the runs what was measured in it. */
void demo_show_summary(const struct demo_stage *s, const struct demo_span span[WIN_IDLE]);

#endif
