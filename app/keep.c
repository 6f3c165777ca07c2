#include "app/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int keep_read(const char *path, char *out, size_t cap, size_t *n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    *n = 0;
    if (fd < 0)
        return -errno;
    while ((got = read(fd, out + *n, cap - *n)) > 0) {
        *n += (size_t)got;
        if (*n == cap) {
            close(fd);
            return -EFBIG;
        }
    }
    if (got < 0) {
        int e = errno;
        close(fd);
        return -e;
    }
    close(fd);
    out[*n] = 0;
    return 0;
}

/* mkdir -p, the last one private. */
static int make_dir(const char *dir)
{
    char path[PATH_MAX];
    size_t n = strlen(dir);

    if (n == 0 || n >= sizeof(path))
        return -ENAMETOOLONG;
    memcpy(path, dir, n + 1);
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(path, 0755) && errno != EEXIST)
            return -errno;
        *p = '/';
    }
    return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0)
            return -errno;
        p += w;
        n -= (size_t)w;
    }
    return fsync(fd) ? -errno : 0;
}

int keep_write(const char *dir, const char *name, const void *bytes, size_t n)
{
    char tmp[PATH_MAX], path[PATH_MAX];
    int fd, rc = make_dir(dir);

    if (rc)
        return rc;
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) ||
        snprintf(tmp, sizeof(tmp), "%s/.%s.%d", dir, name, (int)getpid()) >= (int)sizeof(tmp))
        return -ENAMETOOLONG;
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    rc = write_all(fd, bytes, n);
    if (close(fd) && rc == 0)
        rc = -errno;
    if (rc == 0 && rename(tmp, path))
        rc = -errno;
    if (rc)
        unlink(tmp);
    return rc;
}

int keep_read_line(const char *path, char *out, size_t cap)
{
    char buf[4096];
    size_t n;
    int rc = keep_read(path, buf, sizeof(buf), &n);

    if (rc)
        return rc;
    n = strcspn(buf, "\r\n");
    if (n == 0)
        return -EINVAL;
    if (n >= cap)
        return -EFBIG;
    memcpy(out, buf, n);
    out[n] = 0;
    return 0;
}
