/*
 * meter - how much went by metered links this month, kept for the next start.
 *
 * Model: for each link by its interface's name, the bytes of this calendar month (local time),
 * both ways. They lie in METER_FILE of the state directory, to which what was counted since is
 * added every METER_SAVE, so that several clients of one directory add up. With a new month all
 * begins at zero.
 *
 * Limits: LINKS_MAX links; more are not counted. What a crash loses is METER_SAVE's worth.
 */
#ifndef APP_METER_H
#define APP_METER_H

#include "app/link_rules.h"
#include "quic/log.h"

#include <time.h>

#define METER_FILE "metered"
#define METER_SAVE (10 * NS_PER_S)

struct meter {
    const char *dir; /* NULL: nothing is kept */
    const struct log *log;
    int month; /* since the year 1900 */
    struct meter_item {
        char name[IFNAMSIZ];
        uint64_t bytes, unsaved; /* the former with the latter */
    } item[LINKS_MAX];
    size_t n;
    ns_t save_at; /* NS_NEVER: nothing to save */
};

/* The month of a time. */
int meter_month(time_t t);

/* What was kept of `month`; both are borrowed. A file that can't be read counts as none. */
void meter_open(struct meter *m, const char *dir, int month, const struct log *log);

/* So many more bytes went by `name`; how many this month has seen. */
void meter_add(struct meter *m, const char *name, uint64_t bytes, ns_t now);
uint64_t meter_used(const struct meter *m, const char *name);

/* Time has passed, and it is `month`: save what is due. True: it is a new one. */
bool meter_tick(struct meter *m, int month, ns_t now);

/* Save. */
void meter_close(struct meter *m);

#endif
