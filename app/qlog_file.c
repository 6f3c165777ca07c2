#include "app/qlog_file.h"

#include "app/exit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAME 64

struct file {
    struct qlog_dir *dir;
    char name[NAME];
    int fd; /* -1: over */
    uint64_t bytes;
    ns_t written; /* when last */
    size_t n;
    char buf[QLOG_FILE_BUFFER];
};

static void give_up(struct file *f, const char *why)
{
    LOG_AT(f->dir->log, LOG_WARN, "--qlog: %s/%s ends here: %s", f->dir->name, f->name, why);
    close(f->fd);
    f->fd = -1;
    f->n = 0;
}

static void flush(struct file *f, ns_t now)
{
    for (size_t at = 0; at < f->n;) {
        ssize_t r = write(f->fd, f->buf + at, f->n - at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            give_up(f, r ? strerror(errno) : "nothing is written");
            return;
        }
        at += (size_t)r;
    }
    f->n = 0;
    f->written = now;
}

static void write_record(void *trace, const char *p, size_t n, ns_t now)
{
    struct file *f = trace;

    if (f->fd >= 0 && f->bytes + n > f->dir->max) {
        flush(f, now);
        if (f->fd >= 0)
            give_up(f, "it has reached its greatest size");
    }
    if (f->fd >= 0 && f->n + n > sizeof(f->buf))
        flush(f, now);
    if (f->fd < 0)
        return;
    memcpy(f->buf + f->n, p, n);
    f->n += n;
    f->bytes += n;
    if (now >= f->written + QLOG_FILE_FLUSH)
        flush(f, now);
}

static void close_file(void *trace)
{
    struct file *f = trace;

    if (f->fd >= 0)
        flush(f, f->written);
    if (f->fd >= 0 && close(f->fd))
        LOG_AT(f->dir->log, LOG_WARN, "--qlog: %s/%s: %s", f->dir->name, f->name,
               strerror(errno));
    f->dir->open--;
    free(f);
}

static void refuse(struct qlog_dir *d, const char *why)
{
    if (!d->told)
        LOG_AT(d->log, LOG_WARN, "--qlog: no file in %s for some connections: %s", d->name,
               why);
    d->told = true;
}

/* The same ID may come again: a number then tells the files apart. */
static int make(struct file *f, const struct quic_cid *odcid, bool server)
{
    char id[2 * QUIC_CID_MAX + 1] = "";

    for (size_t i = 0; i < odcid->len; i++)
        snprintf(id + 2 * i, 3, "%02x", odcid->b[i]);
    for (int k = 0; k < 10; k++) {
        char again[8] = "";
        if (k)
            snprintf(again, sizeof(again), "_%d", k);
        snprintf(f->name, sizeof(f->name), "%s_%s%s.sqlog", id, server ? "server" : "client",
                 again);
        f->fd = openat(f->dir->fd, f->name,
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (f->fd >= 0 || errno != EEXIST)
            break;
    }
    return f->fd >= 0 ? 0 : -errno;
}

static void *open_file(void *ctx, const struct quic_cid *odcid, bool server, ns_t now)
{
    struct qlog_dir *d = ctx;
    struct file *f;
    int rc;

    if (d->open == QLOG_FILE_OPEN || d->count == QLOG_FILE_COUNT) {
        refuse(d, d->open == QLOG_FILE_OPEN ? "too many are open" : "there are enough");
        return NULL;
    }
    f = malloc(sizeof(*f));
    if (!f)
        return NULL;
    f->dir = d;
    f->bytes = f->n = 0;
    f->written = now;
    rc = make(f, odcid, server);
    if (rc) {
        refuse(d, strerror(-rc));
        free(f);
        return NULL;
    }
    d->open++;
    d->count++;
    return f;
}

int qlog_dir_open(struct qlog_dir *d, const char *name, const struct log *log)
{
    struct timespec wall, mono;

    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &mono);
    *d = (struct qlog_dir){.name = name, .log = log, .max = QLOG_FILE_MAX};
    d->sink = (struct qlog_sink){
        .ctx = d, .open = open_file, .write = write_record, .close = close_file};
    d->sink.epoch_ms = (uint64_t)((wall.tv_sec - mono.tv_sec) * 1000 +
                                  (wall.tv_nsec - mono.tv_nsec) / 1000000);
    d->fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd >= 0 && faccessat(d->fd, ".", W_OK | X_OK, AT_EACCESS) == 0)
        return 0;
    LOG_AT(log, LOG_ERROR, "--qlog %s: %s (it must be a folder that can be written to)", name,
           strerror(errno));
    if (d->fd >= 0)
        close(d->fd);
    *d = (struct qlog_dir){0};
    return EXIT_FILE;
}

void qlog_dir_close(struct qlog_dir *d)
{
    if (d->name)
        close(d->fd);
    *d = (struct qlog_dir){0};
}
