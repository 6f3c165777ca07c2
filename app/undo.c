#include "app/undo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "app/undo_file.h"

#define SUFFIX         ".undo"
#define NEW_SUFFIX     ".undo.new" /* a rewrite under way */
#define NAME_MAX_TRIES 100
#define LOCK_TRIES     100
#define LOCK_WAIT_NS   (10 * NS_PER_MS)
#define COMPACT_LINES  256 /* dead lines worth a rewrite */
#define NEWBORN_S      60  /* a file without header is left alone for so long */

struct undo {
    char *dir; /* NULL: in memory only */
    int dirfd; /* -1: likewise */
    int fd;    /* our journal, locked; -1: likewise */
    char name[64];
    struct undo_owner self;
    struct undo_list list;
    uint64_t next_id;
    size_t lines;     /* records and removals in the file */
    int locks;        /* how deep undo_lock is nested */
    const char *busy; /* file name of the dead journal that is being taken back; or NULL */
};

/* ---- directory and file ---- */

/* Open the directory, made if missing, and see that it is ours alone. */
static int dir_open(const char *dir, char *why, size_t why_size)
{
    struct stat st;
    int fd, err = 0;

    if (mkdir(dir, 0700) && errno != EEXIST)
        return why_set(why, why_size, -errno, "can't make the state directory %s: %s", dir,
                       strerror(errno));
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return why_set(why, why_size, -errno, "can't use the state directory %s: %s", dir,
                       strerror(errno));
    if (fstat(fd, &st))
        err = -errno;
    else if (st.st_uid != geteuid())
        err = -EPERM;
    else if ((st.st_mode & 077) && fchmod(fd, 0700))
        err = -errno;
    if (!err)
        return fd;
    close(fd);
    return why_set(why, why_size, err,
                   "the state directory %s can't be trusted (it must be owned by the user "
                   "that runs mqvpn): %s",
                   dir, strerror(-err));
}

/* Try for the whole-file lock of an open journal: 0, or -EAGAIN while its owner lives. */
static int file_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

static int write_all(int fd, const char *text)
{
    size_t n = strlen(text);
    ssize_t done = write(fd, text, n);

    if (done == (ssize_t)n)
        return 0;
    return done < 0 ? -errno : -ENOSPC;
}

/* A new, locked file `name` with its header line. Returns the descriptor or -errno. */
static int file_make(struct undo *u, const char *name)
{
    char *header = undo_header_line(&u->self);
    int fd = -ENOMEM, err;

    if (!header)
        return -ENOMEM;
    fd = openat(u->dirfd, name, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                0600);
    err = fd < 0 ? -errno : file_lock(fd);
    if (!err)
        err = write_all(fd, header);
    free(header);
    if (!err)
        return fd;
    if (fd >= 0) {
        unlinkat(u->dirfd, name, 0);
        close(fd);
    }
    return err;
}

/* Begin the journal in u->dirfd under a name that is free. */
static int journal_begin(struct undo *u, char *why, size_t why_size)
{
    int fd = -EEXIST;

    undo_lock(u);
    for (int i = 0; i < NAME_MAX_TRIES && fd == -EEXIST; i++) {
        snprintf(u->name, sizeof(u->name), "%" PRIu64 "-%d-%d" SUFFIX, u->self.netns,
                 (int)u->self.pid, i);
        fd = file_make(u, u->name);
    }
    undo_unlock(u);
    if (fd < 0)
        return why_set(why, why_size, fd, "can't write to the state directory %s: %s", u->dir,
                       strerror(-fd));
    u->fd = fd;
    return 0;
}

/* Use `dir`. On failure `u` is as before. */
static int begin_in(struct undo *u, const char *dir, char *why, size_t why_size)
{
    int fd = dir_open(dir, why, why_size), err;

    if (fd < 0)
        return fd;
    u->dirfd = fd;
    u->dir = strdup(dir);
    err = u->dir ? journal_begin(u, why, why_size)
                 : why_set(why, why_size, -ENOMEM, "out of memory");
    if (!err)
        return 0;
    close(u->dirfd);
    u->dirfd = -1;
    free(u->dir);
    u->dir = NULL;
    return err;
}

int undo_open(struct undo **out, const char *dir, const char *fallback, char *why,
              size_t why_size)
{
    struct undo *u = calloc(1, sizeof(*u));
    int err = 0;

    if (!u)
        return why_set(why, why_size, -ENOMEM, "out of memory");
    u->dirfd = u->fd = -1;
    u->next_id = 1;
    undo_owner_self(&u->self);
    if (dir)
        err = begin_in(u, dir, why, why_size);
    if (err && err != -ENOMEM && fallback)
        err = begin_in(u, fallback, why, why_size);
    if (err) {
        undo_close(u);
        return err;
    }
    *out = u;
    return 0;
}

const char *undo_dir(const struct undo *u)
{
    return u->dir;
}

void undo_close(struct undo *u)
{
    if (!u)
        return;
    if (u->fd >= 0) {
        if (u->list.n == 0)
            unlinkat(u->dirfd, u->name, 0);
        close(u->fd);
    }
    if (u->dirfd >= 0)
        close(u->dirfd);
    undo_list_free(&u->list);
    free(u->dir);
    free(u);
}

/* ---- records ---- */

/* Append one line; a part of it, as a full disk leaves it, is cut off again. */
static int append(struct undo *u, const char *line)
{
    off_t end;
    int err;

    if (u->fd < 0)
        return 0;
    end = lseek(u->fd, 0, SEEK_END);
    err = write_all(u->fd, line);
    if (!err)
        u->lines++;
    else if (end >= 0 && ftruncate(u->fd, end))
        return err; /* nothing more can be done; the reader copes */
    return err;
}

int undo_add(struct undo *u, const char *kind, const char *text, uint64_t *id, char *why,
             size_t why_size)
{
    char *line;
    int err;

    if (!undo_kind_valid(kind))
        return why_set(why, why_size, -EINVAL, "'%.40s' is no kind of record", kind);
    if (strlen(text) > UNDO_TEXT_MAX)
        return why_set(why, why_size, -E2BIG, "a record of more than %d bytes", UNDO_TEXT_MAX);
    if (u->list.n >= UNDO_RECORDS_MAX)
        return why_set(why, why_size, -ENOSPC, "more than %d changes to remember",
                       UNDO_RECORDS_MAX);
    line = undo_record_line(u->next_id, kind, text);
    err = line ? undo_list_add(&u->list, u->next_id, kind, text) : -ENOMEM;
    if (!err) {
        err = append(u, line);
        if (err)
            undo_list_remove(&u->list, u->next_id);
    }
    free(line);
    if (err)
        return why_set(why, why_size, err, "can't record a change in %s: %s",
                       u->dir ? u->dir : "memory", strerror(-err));
    if (id)
        *id = u->next_id;
    u->next_id++;
    return 0;
}

/* Rewrite the journal without what is done with. Failing is harmless. */
static void compact(struct undo *u)
{
    char name[sizeof(u->name) + 8];
    int fd, err = 0;

    snprintf(name, sizeof(name), "%s.new", u->name);
    undo_lock(u);
    fd = file_make(u, name);
    for (size_t i = 0; fd >= 0 && !err && i < u->list.n; i++) {
        const struct undo_record *r = &u->list.r[i];
        char *line = undo_record_line(r->id, r->kind, r->text);

        err = line ? write_all(fd, line) : -ENOMEM;
        free(line);
    }
    if (fd >= 0 && !err && renameat(u->dirfd, name, u->dirfd, u->name) == 0) {
        close(u->fd);
        u->fd = fd;
        u->lines = u->list.n;
    } else if (fd >= 0) {
        unlinkat(u->dirfd, name, 0);
        close(fd);
    }
    undo_unlock(u);
}

void undo_done(struct undo *u, uint64_t id)
{
    char line[32];

    if (!undo_list_remove(&u->list, id))
        return;
    snprintf(line, sizeof(line), "- %" PRIu64 "\n", id);
    append(u, line);
    if (u->fd >= 0 && u->lines > u->list.n + COMPACT_LINES)
        compact(u);
}

size_t undo_count(const struct undo *u)
{
    return u->list.n;
}

/* ---- other instances ---- */

void undo_lock(struct undo *u)
{
    struct timespec pause = {.tv_nsec = LOCK_WAIT_NS};

    if (u->locks++ || u->dirfd < 0)
        return;
    for (int i = 0; i < LOCK_TRIES && flock(u->dirfd, LOCK_EX | LOCK_NB); i++)
        nanosleep(&pause, NULL);
}

void undo_unlock(struct undo *u)
{
    if (--u->locks == 0 && u->dirfd >= 0)
        flock(u->dirfd, LOCK_UN);
}

/* One journal of somebody else. */
struct journal {
    int fd;
    char name[NAME_MAX + 1];
    bool alive;
    bool newborn; /* no header yet, and young */
    struct undo_owner owner;
    struct undo_list list;
};

static bool ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);

    return n > s && !strcmp(name + n - s, suffix);
}

static void journal_free(struct journal *j)
{
    undo_list_free(&j->list);
    close(j->fd);
}

/* Look at file `name`; false where it is none to look at (ours, not a file, not our user's). */
static bool journal_read(struct undo *u, const char *name, struct journal *j)
{
    struct stat st;

    memset(j, 0, sizeof(*j));
    if ((!ends_with(name, SUFFIX) && !ends_with(name, NEW_SUFFIX)) || !strcmp(name, u->name) ||
        (u->busy && !strcmp(name, u->busy)) || strlen(name) >= sizeof(j->name))
        return false;
    strcpy(j->name, name);
    j->fd = openat(u->dirfd, name, O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (j->fd < 0)
        return false;
    if (fstat(j->fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
        close(j->fd);
        return false;
    }
    j->alive = file_lock(j->fd) != 0;
    /* Unlinked between the open and the lock: its owner, or another start, was done with it. */
    if (fstat(j->fd, &st) || st.st_nlink == 0) {
        close(j->fd);
        return false;
    }
    if (undo_file_read(j->fd, &j->owner, &j->list)) {
        undo_list_free(&j->list);
        j->newborn = time(NULL) - st.st_mtime < NEWBORN_S;
    } else if (undo_owner_alive(&j->owner)) {
        j->alive = true;
    }
    return true;
}

static bool same_boot(const struct undo_owner *a, const struct undo_owner *b)
{
    return !a->boot[0] || !b->boot[0] || !strcmp(a->boot, b->boot);
}

static bool same_netns(const struct undo_owner *a, const struct undo_owner *b)
{
    if (a->cookie && b->cookie && a->cookie != b->cookie)
        return false;
    return a->netns == b->netns;
}

static DIR *listing(struct undo *u)
{
    int fd = openat(u->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

    if (fd >= 0 && !d)
        close(fd);
    return d;
}

pid_t undo_peer(struct undo *u, const char *kind, const char *key, char *out, size_t size)
{
    size_t n = strlen(key);
    struct dirent *e;
    pid_t found = 0;
    DIR *d = u->dirfd >= 0 ? listing(u) : NULL;

    while (d && !found && (e = readdir(d))) {
        struct journal j;

        if (!journal_read(u, e->d_name, &j))
            continue;
        for (size_t i = 0; i < j.list.n && j.alive && same_netns(&j.owner, &u->self); i++) {
            const struct undo_record *r = &j.list.r[i];

            if (strcmp(r->kind, kind) || strncmp(r->text, key, n) ||
                (r->text[n] != '\0' && r->text[n] != ' '))
                continue;
            snprintf(out, size, "%s", r->text);
            found = j.owner.pid;
            break;
        }
        journal_free(&j);
    }
    if (d)
        closedir(d);
    return found;
}

/* ---- recovery ---- */

static const struct undo_kind *kind_of(const struct undo_kind *kinds, size_t n,
                                       const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(kinds[i].name, name))
            return &kinds[i];
    }
    return NULL;
}

/* Take one record back, or see that nothing is left of it. Whether it can be dropped. */
static bool revert(struct undo *u, const struct journal *j, const struct undo_record *r,
                   const struct undo_kind *k, const struct log *log, int *count)
{
    char why[WHY_SIZE] = "";
    int err;

    if (!k)
        return false;
    if (k->in_kernel && !same_boot(&j->owner, &u->self))
        return true;
    if (k->in_kernel && !same_netns(&j->owner, &u->self))
        return false;
    err = k->revert(u, r->text, why, sizeof(why));
    if (err) {
        LOG_AT(log, LOG_WARN, "left by mqvpn process %d and still there: %s", (int)j->owner.pid,
               why);
        return false;
    }
    LOG_AT(log, LOG_INFO, "taken back what mqvpn process %d left: %s %.120s", (int)j->owner.pid,
           r->kind, r->text);
    ++*count;
    return true;
}

/* Take back one dead owner's journal, newest record first, and remove the file when empty. */
static int recover(struct undo *u, struct journal *j, const struct undo_kind *kinds, size_t n,
                   const struct log *log)
{
    int count = 0;

    u->busy = j->name;
    for (size_t i = j->list.n; i-- > 0;) {
        const struct undo_record *r = &j->list.r[i];
        char line[32];

        if (!revert(u, j, r, kind_of(kinds, n, r->kind), log, &count))
            continue;
        snprintf(line, sizeof(line), "- %" PRIu64 "\n", r->id);
        if (write_all(j->fd, line))
            LOG_AT(log, LOG_WARN, "can't write to %s/%s", u->dir, j->name);
        undo_list_remove(&j->list, r->id);
    }
    u->busy = NULL;
    if (j->list.n == 0)
        unlinkat(u->dirfd, j->name, 0);
    return count;
}

int undo_recover(struct undo *u, const struct undo_kind *kinds, size_t n, const struct log *log,
                 char *why, size_t why_size)
{
    struct dirent *e;
    int count = 0;
    DIR *d;

    if (u->dirfd < 0)
        return 0;
    d = listing(u);
    if (!d)
        return why_set(why, why_size, -errno, "can't read the state directory %s: %s", u->dir,
                       strerror(errno));
    undo_lock(u);
    while ((e = readdir(d))) {
        struct journal j;

        if (!journal_read(u, e->d_name, &j))
            continue;
        if (!j.alive && !j.newborn && ends_with(j.name, NEW_SUFFIX))
            unlinkat(u->dirfd, j.name, 0); /* an unfinished copy of what has its own file */
        else if (!j.alive && !j.newborn)
            count += recover(u, &j, kinds, n, log);
        journal_free(&j);
    }
    undo_unlock(u);
    closedir(d);
    return count;
}
