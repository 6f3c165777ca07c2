/*
 * undo_file - the text of a journal, read and written. For undo*.c only.
 *
 *   mqvpn-undo 1 pid=7 start=123 netns=4026531840 cookie=1 boot=...
 *   + 1 sysctl net/ipv4/ip_forward 1 0
 *   + 2 nat mqvpn-mqvpn0
 *   - 1
 *
 * Backslashes and newlines of a text are escaped. A line without its newline, as a crash
 * amid a write leaves it, is none; so is one that makes no sense.
 */
#ifndef APP_UNDO_FILE_H
#define APP_UNDO_FILE_H

#include "app/undo.h"

#define UNDO_FILE_MAX (64u << 20) /* bytes of a journal that are read */

struct undo_record {
    uint64_t id;
    char kind[UNDO_KIND_MAX + 1];
    char *text;
};

/* Records in force, oldest first. */
struct undo_list {
    struct undo_record *r;
    size_t n, room;
};

/* Append; the text is copied. Returns 0 or -ENOMEM. */
int undo_list_add(struct undo_list *l, uint64_t id, const char *kind, const char *text);

/* Remove record `id`. Returns whether it was there. */
bool undo_list_remove(struct undo_list *l, uint64_t id);

void undo_list_free(struct undo_list *l);

/* Whether `kind` has 1..UNDO_KIND_MAX lower-case letters and nothing else. */
bool undo_kind_valid(const char *kind);

/* First line of `o`'s journal, newline included, to be freed; NULL: out of memory. */
char *undo_header_line(const struct undo_owner *o);

/* Line of a record, newline included, to be freed; NULL: out of memory. */
char *undo_record_line(uint64_t id, const char *kind, const char *text);

/*
 * Read the journal open as `fd` from its beginning: its owner and the records in force.
 * Returns 0; -EBADMSG (no journal, or none yet); -EFBIG, -ENOMEM, -errno. `l` is empty
 * beforehand, and to be freed by undo_list_free whatever is returned.
 */
int undo_file_read(int fd, struct undo_owner *o, struct undo_list *l);

#endif
