#include "app/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOT "/proc/sys/"
#define KIND "sysctl"
#define ANY  "*" /* in a record: restore whatever the value has become */

/* ---- keys and files ---- */

/* Path of a key, or false for what is no key below net/. */
static bool key_path(const char *key, char out[SYSCTL_KEY_MAX + sizeof(ROOT)])
{
    size_t n = strlen(key);

    if (strncmp(key, "net/", 4) || n >= SYSCTL_KEY_MAX || key[n - 1] == '/')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (key[i] <= ' ' || key[i] == 127)
            return false;
    }
    if (strstr(key, "//") || strstr(key, "/../") || strstr(key, "/./") ||
        (n >= 3 && !strcmp(key + n - 3, "/..")))
        return false;
    strcpy(out, ROOT);
    strcat(out, key);
    return true;
}

/* One word without blanks; "*" has a meaning of its own. */
static bool value_valid(const char *value)
{
    size_t n = strlen(value);

    return n > 0 && n < SYSCTL_VALUE_MAX && strcspn(value, " \t\n") == n && strcmp(value, ANY);
}

int sysctl_get(const char *key, char out[SYSCTL_VALUE_MAX])
{
    char path[SYSCTL_KEY_MAX + sizeof(ROOT)], text[SYSCTL_VALUE_MAX];
    ssize_t n;
    int fd;

    if (!key_path(key, path))
        return -EINVAL;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n < 0)
        return -EIO;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    strcpy(out, text);
    return 0;
}

int sysctl_get_int(const char *key, long *out)
{
    char text[SYSCTL_VALUE_MAX], *end;
    int err = sysctl_get(key, text);
    long v;

    if (err)
        return err;
    errno = 0;
    v = strtol(text, &end, 10);
    if (end == text || *end || errno)
        return -EINVAL;
    *out = v;
    return 0;
}

static int put(const char *key, const char *value)
{
    char path[SYSCTL_KEY_MAX + sizeof(ROOT)];
    int fd, err = 0;

    if (!key_path(key, path))
        return -EINVAL;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, value, strlen(value)) < 0)
        err = -errno;
    close(fd);
    return err;
}

/* The failure to set `key` as a sentence, with dots as people write sysctls. */
static int put_error(const char *key, const char *value, int err, char *why, size_t why_size)
{
    char name[SYSCTL_KEY_MAX];

    snprintf(name, sizeof(name), "%s", key);
    for (char *p = name; *p; p++)
        *p = *p == '/' ? '.' : *p == '.' ? '/' : *p;
    if (err == -EROFS || err == -EACCES || err == -EPERM)
        return why_set(why, why_size, err,
                       "not allowed to set %s=%s: run 'sysctl -w %s=%s' as root (for a "
                       "container, start it with --sysctl %s=%s)",
                       name, value, name, value, name, value);
    return why_set(why, why_size, err, "can't set %s=%s: %s", name, value, strerror(-err));
}

/* ---- records: "KEY OURS FORMER" ---- */

static int parse(const char *text, struct sysctl_change *c)
{
    char copy[SYSCTL_KEY_MAX + 2 * SYSCTL_VALUE_MAX], *rest = copy, *key, *ours, *former;
    char path[SYSCTL_KEY_MAX + sizeof(ROOT)];

    if (strlen(text) >= sizeof(copy))
        return -EINVAL;
    strcpy(copy, text);
    key = strsep(&rest, " ");
    ours = strsep(&rest, " ");
    former = strsep(&rest, " ");
    if (!former || rest || !key_path(key, path) || !value_valid(former) ||
        (strcmp(ours, ANY) && !value_valid(ours)))
        return -EINVAL;
    *c = (struct sysctl_change){0};
    strcpy(c->key, key);
    strcpy(c->ours, strcmp(ours, ANY) ? ours : "");
    strcpy(c->former, former);
    return 0;
}

static int record(struct undo *u, struct sysctl_change *c, char *why, size_t why_size)
{
    char text[SYSCTL_KEY_MAX + 2 * SYSCTL_VALUE_MAX];
    int err;

    if (!u)
        return 0;
    snprintf(text, sizeof(text), "%s %s %s", c->key, c->ours[0] ? c->ours : ANY, c->former);
    err = undo_add(u, KIND, text, &c->id, why, why_size);
    c->active = err == 0;
    return err;
}

/* Write the former value back, if that is up to us. Returns 0 or -errno. */
static int restore(struct undo *u, const struct sysctl_change *c)
{
    char now[SYSCTL_VALUE_MAX], peer[16];
    int err = sysctl_get(c->key, now);

    if (err)
        return err == -ENOENT ? 0 : err; /* the link is gone */
    if (!strcmp(now, c->former) || (c->ours[0] && strcmp(now, c->ours)))
        return 0;
    if (undo_peer(u, KIND, c->key, peer, sizeof(peer)))
        return 0; /* the other one restores */
    return put(c->key, c->former);
}

/* ---- set and restore ---- */

/* The value is right already: share the duty of another instance that made it so. */
static int share(struct undo *u, struct sysctl_change *c, char *why, size_t why_size)
{
    char text[SYSCTL_KEY_MAX + 2 * SYSCTL_VALUE_MAX];
    struct sysctl_change theirs;

    if (!u || !undo_peer(u, KIND, c->key, text, sizeof(text)) || parse(text, &theirs) ||
        strcmp(theirs.ours, c->ours))
        return 0;
    strcpy(c->former, theirs.former);
    return record(u, c, why, why_size);
}

static int set(struct undo *u, struct sysctl_change *c, char *why, size_t why_size)
{
    int err = sysctl_get(c->key, c->former);

    if (err)
        return put_error(c->key, c->ours, err, why, why_size);
    if (!strcmp(c->former, c->ours))
        return share(u, c, why, why_size);
    if (!value_valid(c->former))
        return put_error(c->key, c->ours, -EINVAL, why, why_size);
    err = record(u, c, why, why_size);
    if (err)
        return err;
    err = put(c->key, c->ours);
    if (!err)
        return 0;
    if (c->active)
        undo_done(u, c->id);
    c->active = false;
    return put_error(c->key, c->ours, err, why, why_size);
}

/* Begin a change of `key`. Returns 0 or -EINVAL. */
static int begin(struct sysctl_change *c, const char *key, const char *value, char *why,
                 size_t why_size)
{
    char path[SYSCTL_KEY_MAX + sizeof(ROOT)];

    *c = (struct sysctl_change){0};
    if (!key_path(key, path) || !value_valid(value))
        return why_set(why, why_size, -EINVAL, "'%.80s=%.40s' is no setting", key, value);
    strcpy(c->key, key);
    return 0;
}

int sysctl_set(struct undo *u, const char *key, const char *value, struct sysctl_change *c,
               char *why, size_t why_size)
{
    int err = begin(c, key, value, why, why_size);

    if (err)
        return err;
    strcpy(c->ours, value);
    if (u)
        undo_lock(u);
    err = set(u, c, why, why_size);
    if (u)
        undo_unlock(u);
    return err;
}

int sysctl_keep(struct undo *u, const char *key, struct sysctl_change *c, char *why,
                size_t why_size)
{
    char now[SYSCTL_VALUE_MAX] = "";
    int err = sysctl_get(key, now);

    *c = (struct sysctl_change){0};
    if (err && err != -EINVAL)
        return put_error(key, "?", err, why, why_size);
    err = begin(c, key, now, why, why_size);
    if (err)
        return err;
    strcpy(c->former, now);
    return record(u, c, why, why_size);
}

int sysctl_restore(struct undo *u, struct sysctl_change *c, char *why, size_t why_size)
{
    int err;

    if (!u || !c->active)
        return 0;
    undo_lock(u);
    err = restore(u, c);
    if (!err)
        undo_done(u, c->id);
    undo_unlock(u);
    c->active = false;
    return err ? put_error(c->key, c->former, err, why, why_size) : 0;
}

static int revert(struct undo *u, const char *text, char *why, size_t why_size)
{
    struct sysctl_change c;
    int err = parse(text, &c);

    if (err)
        return why_set(why, why_size, err, "'%.80s' is no record of a setting", text);
    err = restore(u, &c);
    return err ? put_error(c.key, c.former, err, why, why_size) : 0;
}

const struct undo_kind sysctl_undo_kind = {.name = KIND, .in_kernel = true, .revert = revert};
