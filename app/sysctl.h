/*
 * sysctl - settings under /proc/sys/net: read, changed, restored.
 *
 * Model: sysctl_set records the former value in the undo journal and writes the new one.
 * sysctl_restore writes it back, unless the value is no longer ours (somebody changed it
 * meanwhile: theirs stays) or another living instance relies on it too (the last one
 * restores). A value that is already right is neither recorded nor restored, unless another
 * instance set it: then this one shares the duty.
 *
 * Keys are paths below /proc/sys that begin with "net/"; device names with dots work.
 */
#ifndef APP_SYSCTL_H
#define APP_SYSCTL_H

#include "app/undo.h"
#include "quic/types.h"

#define SYSCTL_KEY_MAX   128
#define SYSCTL_VALUE_MAX 64

/* Value without its newline into `out`. Returns 0, -ENOENT, -EINVAL (bad key), -errno. */
int sysctl_get(const char *key, char out[SYSCTL_VALUE_MAX]);

/* An integer setting. Returns 0, -ENOENT, -EINVAL (bad key, no integer), -errno. */
int sysctl_get_int(const char *key, long *out);

/* One setting changed by us; all zero: none. */
struct sysctl_change {
    char key[SYSCTL_KEY_MAX];
    char ours[SYSCTL_VALUE_MAX];   /* what we wrote; "": restore whatever it is then */
    char former[SYSCTL_VALUE_MAX]; /* what to restore */
    uint64_t id;                   /* record in the journal */
    bool active;
};

/*
 * Set `key` to `value`. `c` is filled for sysctl_restore; inactive when nothing is to be
 * restored. `u` may be NULL: nothing is recorded and nothing will be restored.
 *
 * Returns 0; -ENOENT (no such setting), -EROFS, -EACCES, -EPERM (not allowed: the sentence
 * says how a container gets it), -EINVAL (bad key or value), errors of undo_add.
 */
int sysctl_set(struct undo *u, const char *key, const char *value, struct sysctl_change *c,
               char *why, size_t why_size);

/*
 * Write nothing, but restore the present value later whatever it has become: for settings that
 * change along with another one (a link's `forwarding` with that of all links).
 *
 * Returns 0; -ENOENT, -EINVAL (bad key or value), errors of undo_add.
 */
int sysctl_keep(struct undo *u, const char *key, struct sysctl_change *c, char *why,
                size_t why_size);

/* Take one change back as described above. Inactive is fine. Returns 0 or -errno. */
int sysctl_restore(struct undo *u, struct sysctl_change *c, char *why, size_t why_size);

/* For undo_recover. */
extern const struct undo_kind sysctl_undo_kind;

#endif
