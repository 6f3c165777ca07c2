#include "app/ticket.h"

#include "app/keep.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The file name for one server's session; false where it would be too long or leave DIR. */
static bool file_name(const char *server, char *out, size_t n)
{
    return !strchr(server, '/') && snprintf(out, n, "session-%s", server) < (int)n;
}

static bool file_path(const char *dir, const char *server, char *out, size_t n)
{
    char name[NAME_MAX];

    return file_name(server, name, sizeof(name)) &&
           snprintf(out, n, "%s/%s", dir, name) < (int)n;
}

void ticket_load(struct ticket *t, const char *dir, const char *server)
{
    char path[PATH_MAX], bytes[TLS_SESSION_MAX + 1];

    t->n = 0;
    t->offered = false;
    if (file_path(dir, server, path, sizeof(path)) &&
        keep_read(path, bytes, sizeof(bytes), &t->n) == 0)
        memcpy(t->b, bytes, t->n);
    else
        t->n = 0;
    explicit_bzero(bytes, sizeof(bytes));
}

int ticket_next(struct ticket *t, const char *dir, const char *server, struct span next)
{
    char path[PATH_MAX];
    bool used = t->offered;

    if (next.n > sizeof(t->b))
        next.n = 0;
    if (next.n && next.n == t->n && memcmp(t->b, next.p, next.n) == 0)
        return 0; /* seen before */
    if (!next.n && !used)
        return 0;
    explicit_bzero(t->b, sizeof(t->b));
    if (next.n)
        memcpy(t->b, next.p, next.n);
    t->n = next.n;
    t->offered = false;
    if (!dir)
        return 0;
    if (!file_path(dir, server, path, sizeof(path)))
        return -ENAMETOOLONG;
    if (!next.n)
        return unlink(path) && errno != ENOENT ? -errno : 0;
    return keep_write(dir, strrchr(path, '/') + 1, next.p, next.n);
}
