#include "app/dns_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define KIND        "dns"
#define BACKUP      ".before-mqvpn"
#define TEMPORARY   ".mqvpn-new"
#define FILE_MAX    65536
#define LABEL       "security.selinux"
#define LABEL_MAX   256
#define MODE_PUBLIC 0644
#define BESIDE_SIZE (DNS_PATH_SIZE + sizeof(BACKUP))

/* The line of our files by which they are known, and how they were made. */
#define OWNER_LINE "# mqvpn-owner: "
static const char *const hows[] = {
    [DNS_RENAMED] = "renamed", [DNS_CREATED] = "created", [DNS_IN_PLACE] = "in-place"};

/* ---- small file work ---- */

/* All of a file as text, to be freed; at most FILE_MAX bytes. Returns 0 or -errno. */
static int slurp(const char *path, int flags, char **out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags), err = 0;
    char *text = fd < 0 ? NULL : malloc(FILE_MAX + 2);
    struct stat st;
    size_t n = 0;
    ssize_t got = 1;

    if (fd < 0)
        return -errno;
    if (!text)
        err = -ENOMEM;
    else if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        err = -EINVAL;
    while (!err && got > 0 && n <= FILE_MAX) {
        got = read(fd, text + n, FILE_MAX + 1 - n);
        if (got > 0)
            n += (size_t)got;
        else if (got < 0 && errno != EINTR)
            err = -EIO;
        else if (got < 0)
            got = 1;
    }
    close(fd);
    if (!err && n > FILE_MAX)
        err = -EFBIG;
    if (!err && memchr(text, '\0', n))
        err = -EINVAL; /* no text */
    if (err) {
        free(text);
        return err;
    }
    text[n] = '\0';
    *out = text;
    return 0;
}

static int write_fd(int fd, const char *text)
{
    for (size_t n = strlen(text); n > 0;) {
        ssize_t done = write(fd, text, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -ENOSPC;
        text += done;
        n -= (size_t)done;
    }
    return 0;
}

/* Give the new file the security label that the old one has, where there are such. */
static void copy_label(const char *from, int fd)
{
    char label[LABEL_MAX];
    ssize_t n = getxattr(from, LABEL, label, sizeof(label));

    if (n > 0 && fsetxattr(fd, LABEL, label, (size_t)n, 0))
        return; /* nice to have only */
}

/* A new file with `text`, labelled like `like`. On an error it is gone. */
static int make_file(const char *path, const char *text, const char *like)
{
    int fd, err;

    unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE_PUBLIC);
    if (fd < 0)
        return -errno;
    err = fchmod(fd, MODE_PUBLIC) ? -errno : write_fd(fd, text);
    if (!err) {
        copy_label(like, fd);
        err = fsync(fd) ? -errno : 0;
    }
    if (close(fd) && !err)
        err = -errno;
    if (err)
        unlink(path);
    return err;
}

static int overwrite(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC), err;

    if (fd < 0)
        return -errno;
    err = write_fd(fd, text);
    if (close(fd) && !err)
        err = -errno;
    return err;
}

static void beside(const char *path, const char *suffix, char out[BESIDE_SIZE])
{
    snprintf(out, BESIDE_SIZE, "%s%s", path, suffix);
}

/* ---- whose file it is ---- */

/* The owner named in a file of ours. Returns false where the text is not one. */
static bool owner_of(const char *text, struct undo_owner *o, enum dns_how *how)
{
    const char *line = strstr(text, OWNER_LINE);
    char copy[UNDO_OWNER_TEXT + 16];
    size_t n;

    if (!line || (line != text && line[-1] != '\n'))
        return false;
    line += strlen(OWNER_LINE);
    n = strcspn(line, "\n");
    if (n >= sizeof(copy))
        return false;
    memcpy(copy, line, n);
    copy[n] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(hows); i++) {
        size_t k = strlen(hows[i]);

        if (strncmp(copy, hows[i], k) || copy[k] != ' ')
            continue;
        *how = (enum dns_how)i;
        return undo_owner_parse(copy + k + 1, o) == 0;
    }
    return false;
}

static bool is_prefix(const char *part, const char *whole)
{
    return !strncmp(part, whole, strlen(part));
}

/* ---- what we write ---- */

/* Lines of the original that go on to mean something with other servers. */
static bool carried_over(const char *line)
{
    static const char *const words[] = {"search", "domain", "options"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t n = strlen(words[i]);

        if (!strncmp(line, words[i], n) && (line[n] == ' ' || line[n] == '\t'))
            return true;
    }
    return false;
}

/* Text of the new file, to be freed; NULL: out of memory. */
static char *compose(const struct dns_file *f, const struct dns_cfg *cfg, const char *original)
{
    char owner[UNDO_OWNER_TEXT], addr[TUN_ADDR_TEXT], *out = NULL;
    struct undo_owner self;
    size_t size;
    FILE *m = open_memstream(&out, &size);

    if (!m)
        return NULL;
    undo_owner_self(&self);
    fprintf(m, "# Made by mqvpn for its tunnel %s. ", cfg->tun_name);
    if (f->how == DNS_RENAMED)
        fprintf(m, "What was here before is kept in\n# %s" BACKUP " and", f->path);
    else
        fprintf(m, "What was here before\n#");
    fprintf(m, " comes back when mqvpn ends.\n" OWNER_LINE "%s %s\n", hows[f->how],
            undo_owner_text(&self, owner));
    for (size_t i = 0; i < cfg->n_servers; i++)
        fprintf(m, "nameserver %s\n", tun_addr_text(&cfg->servers[i], addr));
    while (original && *original) {
        size_t n = strcspn(original, "\n");

        if (carried_over(original))
            fprintf(m, "%.*s\n", (int)n, original);
        original += n + (original[n] == '\n');
    }
    if (fclose(m)) {
        free(out);
        return NULL;
    }
    return out;
}

/* ---- the record: "PATH HOW OURS-LENGTH\nOURS[ORIGINAL]" ---- */

static int record(struct dns_file *f, struct undo *u, char *why, size_t why_size)
{
    char *text;
    int err;

    if (asprintf(&text, "%s %s %zu\n%s%s", f->path, hows[f->how], strlen(f->ours), f->ours,
                 f->original ? f->original : "") < 0)
        return why_set(why, why_size, -ENOMEM, "out of memory");
    err = undo_add(u, KIND, text, &f->record, why, why_size);
    f->recorded = err == 0;
    free(text);
    return err;
}

static int parse(const char *text, struct dns_file *f)
{
    const char *blank = strchr(text, ' '), *body;
    char how[16];
    size_t n;
    int used = 0;

    *f = (struct dns_file){0};
    if (!blank || text[0] != '/' || (size_t)(blank - text) >= sizeof(f->path))
        return -EINVAL;
    memcpy(f->path, text, (size_t)(blank - text));
    if (sscanf(blank, " %15s %zu%n", how, &n, &used) != 2 || blank[used] != '\n')
        return -EINVAL;
    body = blank + used + 1;
    if (n == 0 || n > strlen(body))
        return -EINVAL;
    for (f->how = 0; f->how < ARRAY_LEN(hows) && strcmp(how, hows[f->how]); f->how++)
        ;
    if (f->how == ARRAY_LEN(hows) || (f->how != DNS_IN_PLACE && body[n]))
        return -EINVAL;
    f->ours = strndup(body, n);
    f->original = f->how == DNS_IN_PLACE ? strdup(body + n) : NULL;
    if (!f->ours || (f->how == DNS_IN_PLACE && !f->original))
        return -ENOMEM;
    return 0;
}

static void release(struct dns_file *f)
{
    free(f->ours);
    free(f->original);
    f->ours = f->original = NULL;
}

/* ---- putting back ---- */

/* The original beside the file takes its name again, or none does. */
static int put_back_by_name(const struct dns_file *f, bool ours)
{
    char backup[BESIDE_SIZE];

    beside(f->path, BACKUP, backup);
    if (ours && f->how == DNS_CREATED)
        return unlink(f->path) ? -errno : 0;
    if (ours && rename(backup, f->path) == 0)
        return 0;
    if (ours)
        return -errno;
    if (f->how == DNS_RENAMED)
        unlink(backup); /* of no use to anybody: another file has the name */
    return 1;
}

/* Returns 0 (put back), 1 (not ours any more), or -errno. */
static int put_back(const struct dns_file *f)
{
    char *now;
    int err = slurp(f->path, f->how == DNS_IN_PLACE ? 0 : O_NOFOLLOW, &now);
    int rc;

    if (err == -ENOENT && f->how == DNS_CREATED)
        return 0;
    if (err && f->how == DNS_IN_PLACE)
        return err == -ENOENT ? 1 : err;
    if (err)
        return put_back_by_name(f, false); /* a link, a directory, nothing: not ours */
    if (f->how != DNS_IN_PLACE)
        rc = put_back_by_name(f, !strcmp(now, f->ours));
    else if (!strcmp(now, f->original))
        rc = 0;
    else if (is_prefix(now, f->ours) || is_prefix(now, f->original))
        rc = overwrite(f->path, f->original); /* ours, or one that a crash cut short */
    else
        rc = 1;
    free(now);
    return rc;
}

static int put_back_error(const struct dns_file *f, int err, char *why, size_t why_size)
{
    return why_set(why, why_size, err, "can't restore %s%s: %s", f->path,
                   f->how == DNS_RENAMED ? " from " BACKUP " beside it" : "", strerror(-err));
}

int dns_file_restore(struct dns_file *f, struct undo *u, char *why, size_t why_size)
{
    int rc = put_back(f);

    if (rc < 0)
        put_back_error(f, rc, why, why_size);
    else if (f->recorded)
        undo_done(u, f->record);
    release(f);
    return rc;
}

int dns_recover(const char *path, char *why, size_t why_size)
{
    struct dns_file f = {0};
    struct undo_owner o;
    int rc;

    snprintf(f.path, sizeof(f.path), "%s", path ? path : DNS_PATH);
    rc = slurp(f.path, O_NOFOLLOW, &f.ours);
    if (rc)
        return 0; /* no file, or none that we could have made */
    if (!owner_of(f.ours, &o, &f.how) || undo_owner_alive(&o)) {
        rc = 0;
    } else if (f.how == DNS_IN_PLACE) {
        rc = why_set(why, why_size, -ENOENT,
                     "%s was made by an mqvpn that was killed, and what it replaced is lost: "
                     "write it anew",
                     f.path);
    } else {
        rc = put_back(&f);
        if (rc < 0)
            put_back_error(&f, rc, why, why_size);
        else
            rc = rc == 0;
    }
    release(&f);
    return rc;
}

static int revert(struct undo *u, const char *text, char *why, size_t why_size)
{
    struct dns_file f;
    int err = parse(text, &f), rc;

    (void)u;
    if (err) {
        release(&f);
        return why_set(why, why_size, err, "a record of name servers makes no sense");
    }
    rc = put_back(&f);
    if (rc < 0)
        put_back_error(&f, rc, why, why_size);
    release(&f);
    return rc < 0 ? rc : 0;
}

const struct undo_kind dns_undo_kind = {.name = KIND, .in_kernel = false, .revert = revert};

/* ---- replacing ---- */

/* By a new file of the same name. Returns 0, or -errno with everything as before. */
static int replace(struct dns_file *f, struct undo *u, bool exists, char *why, size_t why_size)
{
    char temporary[BESIDE_SIZE], backup[BESIDE_SIZE];
    int err;

    beside(f->path, TEMPORARY, temporary);
    beside(f->path, BACKUP, backup);
    err = make_file(temporary, f->ours, f->path);
    if (err)
        return err;
    if (exists) {
        unlink(backup); /* stale: `path` is not ours, or dns_recover would have used it */
        if (linkat(AT_FDCWD, f->path, AT_FDCWD, backup, 0))
            err = -errno;
    }
    if (!err)
        err = record(f, u, why, why_size);
    if (!err && rename(temporary, f->path)) {
        err = -errno;
        undo_done(u, f->record);
        f->recorded = false;
    }
    if (err) {
        unlink(temporary);
        if (exists)
            unlink(backup);
    }
    return err;
}

/* By writing into the file that is there. */
static int rewrite(struct dns_file *f, struct undo *u, char *why, size_t why_size)
{
    int err;

    if (access(f->path, W_OK))
        return -errno;
    err = record(f, u, why, why_size);
    if (err)
        return err;
    err = overwrite(f->path, f->ours);
    if (!err)
        return 0;
    if (overwrite(f->path, f->original) == 0) {
        undo_done(u, f->record);
        f->recorded = false;
    }
    return err;
}

static int apply_error(const struct dns_file *f, int err, char *why, size_t why_size)
{
    const char *hint = "";

    if (err == -EPERM)
        hint = " (is it immutable? then: chattr -i)";
    else if (err == -EACCES)
        hint = " (run as root)";
    else if (err == -EROFS)
        hint = " (read-only: set the name servers by hand and leave --dns out)";
    return why_set(why, why_size, err, "can't set name servers in %s: %s%s", f->path,
                   strerror(-err), hint);
}

/* Whoever made the file that is there lets us have it. Returns 0 or -errno. */
static int settle_owner(const struct dns_file *f, const char *original, char *why,
                        size_t why_size)
{
    struct undo_owner o;
    enum dns_how how;
    int rc;

    if (!owner_of(original, &o, &how))
        return 0;
    if (undo_owner_alive(&o))
        return why_set(why, why_size, -EBUSY,
                       "another mqvpn (process %d) has set the name servers in %s: only one "
                       "at a time can use --dns",
                       (int)o.pid, f->path);
    rc = dns_recover(f->path, why, why_size);
    return rc < 0 ? rc : -EAGAIN; /* look again */
}

/* Read what is there: its text (NULL: there is nothing), and whether a name exists. */
static int look(const struct dns_file *f, char **original, bool *exists, char *why,
                size_t why_size)
{
    struct stat st;
    int err;

    *original = NULL;
    *exists = lstat(f->path, &st) == 0;
    err = *exists ? slurp(f->path, 0, original) : 0;
    if (err == -ENOENT || err == -ELOOP)
        return 0; /* a link to nowhere */
    if (err == -EFBIG || err == -EINVAL)
        return why_set(why, why_size, err, "%s is no text file of at most 64 KB: it stays",
                       f->path);
    if (err)
        return apply_error(f, err, why, why_size);
    return *original ? settle_owner(f, *original, why, why_size) : 0;
}

static int apply(struct dns_file *f, const struct dns_cfg *cfg, struct undo *u, char *why,
                 size_t why_size)
{
    bool exists = false;
    char *original = NULL;
    int err = -EAGAIN;

    for (int i = 0; i < 2 && err == -EAGAIN; i++) {
        free(original);
        err = look(f, &original, &exists, why, why_size);
    }
    if (err) {
        free(original);
        return err == -EAGAIN ? apply_error(f, err, why, why_size) : err;
    }
    f->how = exists ? DNS_RENAMED : DNS_CREATED;
    f->ours = compose(f, cfg, original);
    err = f->ours ? replace(f, u, exists, why, why_size) : -ENOMEM;
    if (err && err != -ENOMEM && original) {
        /* A mount point, a directory that can't be written, a file system without links. */
        free(f->ours);
        f->how = DNS_IN_PLACE;
        f->original = original;
        original = NULL;
        f->ours = compose(f, cfg, f->original);
        err = f->ours ? rewrite(f, u, why, why_size) : -ENOMEM;
    }
    free(original);
    return err ? apply_error(f, err, why, why_size) : 0;
}

int dns_file_apply(struct dns_file *f, const struct dns_cfg *cfg, struct undo *u, char *why,
                   size_t why_size)
{
    const char *path = cfg->path ? cfg->path : DNS_PATH;
    int err;

    *f = (struct dns_file){0};
    if (path[0] != '/' || strpbrk(path, " \t\n") || strlen(path) >= sizeof(f->path))
        return why_set(why, why_size, -EINVAL, "'%.80s' can't be the path of a resolv.conf",
                       path);
    strcpy(f->path, path);
    undo_lock(u);
    err = apply(f, cfg, u, why, why_size);
    undo_unlock(u);
    if (err)
        release(f);
    return err;
}
