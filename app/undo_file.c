#include "app/undo_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "mqvpn-undo 1 "

/* ---- the list ---- */

int undo_list_add(struct undo_list *l, uint64_t id, const char *kind, const char *text)
{
    struct undo_record rec = {.id = id};

    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 16;
        struct undo_record *more = realloc(l->r, room * sizeof(*more));

        if (!more)
            return -ENOMEM;
        l->r = more;
        l->room = room;
    }
    rec.text = strdup(text);
    if (!rec.text)
        return -ENOMEM;
    strncat(rec.kind, kind, UNDO_KIND_MAX);
    l->r[l->n++] = rec;
    return 0;
}

bool undo_list_remove(struct undo_list *l, uint64_t id)
{
    for (size_t i = l->n; i-- > 0;) {
        if (l->r[i].id != id)
            continue;
        free(l->r[i].text);
        memmove(&l->r[i], &l->r[i + 1], (l->n - i - 1) * sizeof(*l->r));
        l->n--;
        return true;
    }
    return false;
}

void undo_list_free(struct undo_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->r[i].text);
    free(l->r);
    *l = (struct undo_list){0};
}

bool undo_kind_valid(const char *kind)
{
    size_t n = strlen(kind);

    if (n == 0 || n > UNDO_KIND_MAX)
        return false;
    return strspn(kind, "abcdefghijklmnopqrstuvwxyz") == n;
}

/* ---- writing ---- */

char *undo_header_line(const struct undo_owner *o)
{
    char owner[UNDO_OWNER_TEXT], *line;

    if (asprintf(&line, MAGIC "%s\n", undo_owner_text(o, owner)) < 0)
        return NULL;
    return line;
}

char *undo_record_line(uint64_t id, const char *kind, const char *text)
{
    char *line = malloc(2 * strlen(text) + 64), *p;

    if (!line)
        return NULL;
    p = line + sprintf(line, "+ %" PRIu64 " %s ", id, kind);
    for (; *text; text++) {
        if (*text == '\n' || *text == '\\')
            *p++ = '\\';
        *p++ = *text == '\n' ? 'n' : *text;
    }
    *p++ = '\n';
    *p = '\0';
    return line;
}

/* ---- reading ---- */

/* Undo the escaping, in place. Returns whether it was well formed. */
static bool unescape(char *text)
{
    char *out = text;

    for (; *text; text++) {
        if (*text != '\\') {
            *out++ = *text;
            continue;
        }
        text++;
        if (*text != 'n' && *text != '\\')
            return false;
        *out++ = *text == 'n' ? '\n' : '\\';
    }
    *out = '\0';
    return true;
}

/* An id at `*p`, which moves behind it. */
static bool take_id(char **p, uint64_t *id)
{
    char *end;

    if (**p < '0' || **p > '9')
        return false;
    errno = 0;
    *id = strtoull(*p, &end, 10);
    *p = end;
    return errno == 0;
}

/* One line, without its newline. Returns 0 (also for nonsense, which is skipped) or -ENOMEM. */
static int take_line(char *line, struct undo_list *l)
{
    char *p = line + 2, *kind;
    uint64_t id;

    if ((line[0] != '+' && line[0] != '-') || line[1] != ' ' || !take_id(&p, &id))
        return 0;
    if (line[0] == '-') {
        if (*p == '\0')
            undo_list_remove(l, id);
        return 0;
    }
    if (*p++ != ' ')
        return 0;
    kind = p;
    p = strchr(p, ' ');
    if (!p)
        return 0;
    *p++ = '\0';
    if (!undo_kind_valid(kind) || !unescape(p))
        return 0;
    return undo_list_add(l, id, kind, p);
}

/* The whole file as text to be freed. */
static int slurp(int fd, char **out)
{
    struct stat st;
    size_t n = 0;
    char *text;

    if (fstat(fd, &st))
        return -errno;
    if (st.st_size > UNDO_FILE_MAX)
        return -EFBIG;
    text = malloc((size_t)st.st_size + 1);
    if (!text)
        return -ENOMEM;
    while (n < (size_t)st.st_size) {
        ssize_t got = pread(fd, text + n, (size_t)st.st_size - n, (off_t)n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(text);
            return -EIO;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0'; /* a NUL inside ends the journal there */
    *out = text;
    return 0;
}

int undo_file_read(int fd, struct undo_owner *o, struct undo_list *l)
{
    char *text = NULL, *line, *rest;
    int err = slurp(fd, &text);

    if (err)
        return err;
    rest = text;
    line = strsep(&rest, "\n");
    if (!rest || strncmp(line, MAGIC, strlen(MAGIC)) ||
        undo_owner_parse(line + strlen(MAGIC), o))
        err = -EBADMSG;
    while (!err && (line = strsep(&rest, "\n")) && rest)
        err = take_line(line, l);
    free(text);
    return err;
}
