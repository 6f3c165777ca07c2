/*
 * keep - small files that must survive the process: keys, secrets, certificates.
 *
 * They live in the state directory, mode 0600 in a directory of mode 0700, and are
 * written whole or not at all (temporary file, fsync, rename).
 */
#ifndef APP_KEEP_H
#define APP_KEEP_H

#include "quic/types.h"

#define KEEP_MAX 65536 /* bytes of one file */

/*
 * Read file `path` whole into `out` (NUL-terminated, `*n` bytes without it).
 * Returns 0, or -errno (EFBIG above `cap` - 1 bytes).
 */
int keep_read(const char *path, char *out, size_t cap, size_t *n);

/* Write `n` bytes to DIR/NAME, making DIR (and its parents) if need be. 0 or -errno. */
int keep_write(const char *dir, const char *name, const void *bytes, size_t n);

/* First line of a file without its line end: a key. 0, or -errno; EINVAL when it is empty. */
int keep_read_line(const char *path, char *out, size_t cap);

#endif
