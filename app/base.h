/*
 * base - what client and server stand on: the machine's side, the loop with the TUN device and
 * the signals in it, and the status socket.
 */
#ifndef APP_BASE_H
#define APP_BASE_H

#include "app/config.h"
#include "app/control.h"
#include "app/device.h"
#include "app/host.h"
#include "app/ring.h"
#include "app/status.h"

struct base {
    struct host host;
    struct ring *ring;
    struct device device;
    struct control *control;
    struct status_rates rates;
    ns_t started; /* base_answer was called */
};

/*
 * Open the TUN device, and a loop with `ops` and `ctx` that has it and looks for SIGINT, SIGTERM
 * and SIGHUP. `b` is all zero before, and to be closed in both cases; `config` and `log` are
 * borrowed. Returns 0, or an exit status after the log was told why.
 */
int base_open(struct base *b, const struct config *config, const struct ring_ops *ops,
              void *ctx, const struct log *log);
void base_close(struct base *b);

/* All stands: answer questions by the status socket, if that can be had. */
void base_answer(struct base *b, const struct config *config, control_fn *fn, void *ctx,
                 const struct log *log);

/* What an instance says first of itself; `state` and the name of the server are the caller's. */
struct status_self base_self(const struct base *b, const char *role);

#endif
