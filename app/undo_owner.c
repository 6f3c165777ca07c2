/* Who a process is: written into journals, and compared with what runs now. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/undo.h"

#ifndef SO_NETNS_COOKIE /* since Linux 5.14 */
#define SO_NETNS_COOKIE 71
#endif

#define STAT_START 22 /* the field of /proc/PID/stat with the start time, from 1 */

/* A small file as text. Returns 0 or -errno. */
static int slurp(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read(fd, out, size - 1);
    close(fd);
    if (n < 0)
        return -EIO;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return 0;
}

/* State letter and start time of process `pid`. Returns 0; -ENOENT; -errno; -EBADMSG. */
static int process(pid_t pid, char *state, uint64_t *start)
{
    char path[64], text[1024], *p, *save = NULL;
    int err;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    err = slurp(path, text, sizeof(text));
    if (err)
        return err;
    p = strrchr(text, ')'); /* the name before it may contain anything */
    if (!p || p[1] != ' ' || !p[2])
        return -EBADMSG;
    *state = p[2];
    p = strtok_r(p + 2, " ", &save);
    for (int field = 3; p && field < STAT_START; field++)
        p = strtok_r(NULL, " ", &save);
    if (!p)
        return -EBADMSG;
    *start = strtoull(p, NULL, 10);
    return 0;
}

static uint64_t netns_cookie(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint64_t cookie = 0;
    socklen_t len = sizeof(cookie);

    if (fd < 0)
        return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len))
        cookie = 0;
    close(fd);
    return cookie;
}

static bool boot_letter(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
}

void undo_owner_self(struct undo_owner *o)
{
    struct stat st;
    char state, boot[64];

    *o = (struct undo_owner){.pid = getpid()};
    if (process(o->pid, &state, &o->start))
        o->start = 0;
    if (stat("/proc/thread-self/ns/net", &st) == 0)
        o->netns = st.st_ino;
    o->cookie = netns_cookie();
    if (slurp("/proc/sys/kernel/random/boot_id", boot, sizeof(boot)) == 0 &&
        strlen(boot) < sizeof(o->boot))
        strcpy(o->boot, boot);
}

const char *undo_owner_text(const struct undo_owner *o, char out[UNDO_OWNER_TEXT])
{
    snprintf(out, UNDO_OWNER_TEXT,
             "pid=%d start=%" PRIu64 " netns=%" PRIu64 " cookie=%" PRIu64 " boot=%s",
             (int)o->pid, o->start, o->netns, o->cookie, o->boot[0] ? o->boot : "-");
    return out;
}

/* "NAME=DIGITS" at `*text`, which moves behind it and the blank that follows. */
static bool take_number(const char **text, const char *name, uint64_t *out)
{
    size_t n = strlen(name);
    char *end;

    if (strncmp(*text, name, n) || (*text)[n] < '0' || (*text)[n] > '9')
        return false;
    errno = 0;
    *out = strtoull(*text + n, &end, 10);
    if (errno || *end != ' ')
        return false;
    *text = end + 1;
    return true;
}

int undo_owner_parse(const char *text, struct undo_owner *o)
{
    struct undo_owner got = {0};
    uint64_t pid;
    size_t n;

    if (!take_number(&text, "pid=", &pid) || pid == 0 || pid > INT32_MAX ||
        !take_number(&text, "start=", &got.start) ||
        !take_number(&text, "netns=", &got.netns) ||
        !take_number(&text, "cookie=", &got.cookie) || strncmp(text, "boot=", 5))
        return -EINVAL;
    text += 5;
    n = strlen(text);
    if (n == 0 || n >= sizeof(got.boot))
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (!boot_letter(text[i]))
            return -EINVAL;
    }
    if (strcmp(text, "-"))
        strcpy(got.boot, text);
    got.pid = (pid_t)pid;
    *o = got;
    return 0;
}

bool undo_owner_alive(const struct undo_owner *o)
{
    struct undo_owner self;
    uint64_t start;
    char state;
    int err;

    undo_owner_self(&self);
    if (o->boot[0] && self.boot[0] && strcmp(o->boot, self.boot))
        return false;
    err = process(o->pid, &state, &start);
    if (err)
        return kill(o->pid, 0) == 0 || errno != ESRCH; /* hidden, or no /proc */
    if (state == 'Z' || state == 'X')
        return false;
    return o->start == 0 || start == o->start;
}
