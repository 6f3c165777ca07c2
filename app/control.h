/*
 * control - questions to a running instance, by a UNIX socket.
 *
 * Protocol: one line that asks, one line of JSON that answers, as often as the client likes. The
 * socket is CONTROL_DIR/NAME.sock, NAME that of the TUN device; where another instance has that
 * name (in another network namespace), NAME.PID.sock. Only root and the user who runs the
 * instance are answered, by the credentials that the kernel tells.
 *
 * Bounded: CONTROL_CLIENTS at a time, lines of CONTROL_LINE_MAX bytes, one answer at a time for
 * each. Nothing blocks. Who does not read its answer is not heard, and dropped for a newcomer
 * when it made no progress for CONTROL_PATIENCE; so is who asks nothing.
 */
#ifndef APP_CONTROL_H
#define APP_CONTROL_H

#include "app/ring.h"
#include "quic/json.h"

#define CONTROL_DIR      "/run/mqvpn"
#define CONTROL_CLIENTS  16
#define CONTROL_LINE_MAX 256
#define CONTROL_PATIENCE (2 * NS_PER_S)
#define CONTROL_ANSWER   (8u << 20) /* bytes of an answer at most */

struct control;

/* Answer `line` (without its newline) by one JSON value. May be called again for more room. */
typedef void control_fn(void *ctx, const char *line, struct json *out, ns_t now);

/*
 * Listen in `dir` (CONTROL_DIR) for the instance `name`. What a killed instance of that name has
 * left behind is removed. `ring` is borrowed.
 * Returns 0, or a negative errno with a sentence in `why`.
 */
int control_open(struct control **out, struct ring *ring, const char *dir, const char *name,
                 control_fn *fn, void *ctx, char *why, size_t why_size);

/* Close, and remove the socket. NULL is fine. */
void control_close(struct control *c);

/* Remove the sockets of instances `name` that were killed. */
void control_sweep(const char *dir, const char *name);

/* Clients connected now. */
size_t control_clients(const struct control *c);

/* ---- the other end ---- */

/*
 * Connect to the instance `name` in `dir`: if there are several of that name, to the one in the
 * caller's network namespace. `name` NULL: whichever runs, if it is only one.
 * Returns a descriptor, or with a sentence in `why`: -ENOENT (none runs), -EACCES (not for this
 * user), -ENOTUNIQ (several: their names are in `why`), another errno.
 */
int control_connect(const char *dir, const char *name, char *why, size_t why_size);

/*
 * Ask by `line`; the answer, without its newline and with a NUL, is the caller's to free().
 * Returns 0, -ETIMEDOUT, -ECONNRESET (the other end has closed), -EFBIG or -ENOMEM.
 */
int control_ask(int fd, const char *line, int timeout_ms, char **answer);

#endif
