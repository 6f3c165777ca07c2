/*
 * undo - a journal of changes to the machine that would outlive this process.
 *
 * Model: one file per process in a state directory (0700), `<netns>-<pid>-<n>.undo`. Its
 * first line says who owns it: process id, start time, network namespace, boot. Each further
 * line is a record added BEFORE a change is made, or says that one is done with. A clean exit
 * takes every change back and removes the file. After a SIGKILL the file stays, and the
 * next start (undo_recover) hands each record to the function of its kind and removes it.
 *
 * The owner holds a lock on its file for as long as it lives. A journal counts as dead only
 * if the lock is free and no process has its id and start time; so running instances never
 * touch each other's changes. What was changed in the kernel is taken back only in the
 * network namespace where it was made, and forgotten after a reboot.
 *
 * A change that two instances share (a sysctl) is restored by the last: undo_peer finds the
 * record of another living instance, under undo_lock.
 *
 * Invariant: a change in force has its record in the file. The reverse does not hold: a
 * reverter must cope with a change that was never made.
 * Limits: UNDO_RECORDS_MAX records per process; UNDO_TEXT_MAX bytes each. Without any usable
 * directory, or with `dir` NULL, records are kept in memory only. A journal whose namespace
 * is gone stays until the next boot, unless its records are all of files. A child forked
 * after opening shares the lock: the journal counts as alive as long as either lives.
 */
#ifndef APP_UNDO_H
#define APP_UNDO_H

#include <sys/types.h>

#include "quic/log.h"
#include "quic/types.h"
#include "tun/why.h"

#define UNDO_DIR         "/run/mqvpn"
#define UNDO_RECORDS_MAX 65536
#define UNDO_TEXT_MAX    (256 * 1024)
#define UNDO_KIND_MAX    15 /* letters of a kind's name */

struct undo;

/* Who a process is, so that it can be told from any later one. */
struct undo_owner {
    pid_t pid;
    uint64_t start;  /* clock ticks after boot, from /proc/PID/stat; 0 unknown */
    uint64_t netns;  /* inode of the network namespace; 0 unknown */
    uint64_t cookie; /* its cookie, never used twice in a boot; 0 unknown (before 5.14) */
    char boot[37];   /* boot id; "" unknown */
};

/* This process, this thread's network namespace. */
void undo_owner_self(struct undo_owner *o);

/* Room for an owner as text, with its NUL. */
#define UNDO_OWNER_TEXT 160

/* One line without blanks at its ends or a newline; returns out. */
const char *undo_owner_text(const struct undo_owner *o, char out[UNDO_OWNER_TEXT]);

/* Returns 0, or -EINVAL (`*o` unchanged). */
int undo_owner_parse(const char *text, struct undo_owner *o);

/* Whether that very process still runs. What can't be known counts as running. */
bool undo_owner_alive(const struct undo_owner *o);

/* How records of one kind are taken back in a later process. */
struct undo_kind {
    const char *name; /* 1..UNDO_KIND_MAX letters */
    bool in_kernel;   /* state of the network namespace, gone with it; else of a file system */
    /*
     * Take back what `text` says. Returns 0 when the change is gone (also if it never was
     * there, or if someone else's has taken its place), or a negative errno with the
     * reason: the record is kept for the next start.
     */
    int (*revert)(struct undo *u, const char *text, char *why, size_t why_size);
};

/*
 * Open the journal in `dir`, made if missing; or, where that can't be used, in `fallback`
 * (NULL: none). With `dir` NULL nothing is written to disk, for processes whose namespaces
 * die with them. A directory that others may write to, or that is another user's, is refused.
 *
 * Returns 0 (check undo_dir for where); or -errno with a sentence that names the directory:
 * -EACCES, -EROFS, -ENOENT (its parent is missing), -ENOTDIR, -EPERM (another user's).
 */
int undo_open(struct undo **out, const char *dir, const char *fallback, char *why,
              size_t why_size);

/* The directory in use, or NULL when records are in memory only. */
const char *undo_dir(const struct undo *u);

/*
 * Forget the records, remove the file, free. To be called when every change is taken back;
 * records still there keep the file, for the next start. NULL is fine.
 */
void undo_close(struct undo *u);

/*
 * Record a change about to be made. `kind` as in struct undo_kind; `text` any bytes but NUL.
 * `*id` (may be NULL) names the record.
 *
 * Returns 0; -EINVAL (bad kind), -E2BIG (text too long), -ENOSPC (too many, or the disk is
 * full), -ENOMEM, -errno of the write: the change must not be made then.
 */
int undo_add(struct undo *u, const char *kind, const char *text, uint64_t *id, char *why,
             size_t why_size);

/* The change is taken back, or was never made: drop its record. Unknown ids are ignored. */
void undo_done(struct undo *u, uint64_t id);

/* Records in force. */
size_t undo_count(const struct undo *u);

/*
 * Take back, with `kinds`, what dead owners left in the directory and in this namespace,
 * newest record first. Records of unknown kinds are kept. Every change taken back, and each
 * failure, is one line to `log`.
 *
 * Returns how many records were taken back, or -errno (the directory can't be read).
 */
int undo_recover(struct undo *u, const struct undo_kind *kinds, size_t n, const struct log *log,
                 char *why, size_t why_size);

/*
 * Hold the directory against other instances while a shared change is looked at and made,
 * or taken back. Waits a second at most, then goes on without. May be nested.
 */
void undo_lock(struct undo *u);
void undo_unlock(struct undo *u);

/*
 * Look for a record of another living instance in this network namespace, of `kind`, whose
 * text is `key` or begins with `key` and a blank. Copies the text (cut to `size`) to `out`.
 * Returns its owner's process id, or 0 when there is none.
 */
pid_t undo_peer(struct undo *u, const char *kind, const char *key, char *out, size_t size);

#endif
