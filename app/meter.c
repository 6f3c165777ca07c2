#include "app/meter.h"

#include "app/keep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LINE      (IFNAMSIZ + 24)
#define FILE_SIZE (16 + LINKS_MAX * LINE)

int meter_month(time_t t)
{
    struct tm tm;

    return localtime_r(&t, &tm) ? tm.tm_year * 12 + tm.tm_mon : 0;
}

static struct meter_item *item_of(struct meter *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->item[i].name, name) == 0)
            return &m->item[i];
    if (m->n == LINKS_MAX)
        return NULL;
    m->item[m->n] = (struct meter_item){.bytes = 0};
    snprintf(m->item[m->n].name, IFNAMSIZ, "%s", name);
    return &m->item[m->n++];
}

/* ---- the file: "2026-11", then a line "wwan0 12345" for each link -------------------------- */

/* What it says of this month, into `bytes`; what was not saved comes on top. */
static void load(struct meter *m)
{
    char path[4096], text[FILE_SIZE], name[IFNAMSIZ], *line, *rest;
    int year, mon;
    size_t n;

    for (size_t i = 0; i < m->n; i++)
        m->item[i].bytes = m->item[i].unsaved;
    if (!m->dir ||
        snprintf(path, sizeof(path), "%s/%s", m->dir, METER_FILE) >= (int)sizeof(path) ||
        keep_read(path, text, sizeof(text), &n))
        return;
    line = strtok_r(text, "\n", &rest);
    if (!line || sscanf(line, "%d-%d", &year, &mon) != 2 ||
        (int64_t)(year - 1900) * 12 + mon - 1 != m->month)
        return;
    while ((line = strtok_r(NULL, "\n", &rest))) {
        struct meter_item *it;
        uint64_t bytes;

        if (sscanf(line, "%15s %" SCNu64, name, &bytes) == 2 && (it = item_of(m, name)))
            it->bytes += bytes;
    }
}

static void save(struct meter *m)
{
    char text[FILE_SIZE];
    int rc;
    size_t n;

    m->save_at = NS_NEVER;
    if (!m->dir)
        return;
    load(m);
    n = (size_t)snprintf(text, sizeof(text), "%04d-%02d\n", m->month / 12 + 1900,
                         m->month % 12 + 1);
    for (size_t i = 0; i < m->n; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s %" PRIu64 "\n", m->item[i].name,
                              m->item[i].bytes);
    rc = keep_write(m->dir, METER_FILE, text, n);
    if (rc)
        LOG_AT(m->log, LOG_WARN,
               "%s/%s: %s; a new start won't know what metered links have used", m->dir,
               METER_FILE, strerror(-rc));
    for (size_t i = 0; i < m->n && rc == 0; i++)
        m->item[i].unsaved = 0;
}

/* ---- verbs ----------------------------------------------------------------------------- */

void meter_open(struct meter *m, const char *dir, int month, const struct log *log)
{
    *m = (struct meter){.dir = dir, .log = log, .month = month, .save_at = NS_NEVER};
    load(m);
}

void meter_add(struct meter *m, const char *name, uint64_t bytes, ns_t now)
{
    struct meter_item *it = item_of(m, name);

    if (!it || bytes == 0)
        return;
    it->bytes += bytes;
    it->unsaved += bytes;
    m->save_at = ns_min(m->save_at, now + METER_SAVE);
}

uint64_t meter_used(const struct meter *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->item[i].name, name) == 0)
            return m->item[i].bytes;
    return 0;
}

bool meter_tick(struct meter *m, int month, ns_t now)
{
    bool fresh = month != m->month;

    if (fresh) {
        m->n = 0;
        m->month = month;
        m->save_at = NS_NEVER;
        load(m); /* another client may have begun it */
    }
    if (m->save_at <= now)
        save(m);
    return fresh;
}

void meter_close(struct meter *m)
{
    if (m->save_at != NS_NEVER)
        save(m);
}
