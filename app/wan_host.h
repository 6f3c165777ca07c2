/*
 * wan_host - `mqvpn wan FILE`: emulated links between namespaces, for scripts.
 *
 * Reads orders (app/wan_spec.h) from a file, makes the links that it describes, says "ready",
 * and carries packets until it is told to quit or gets a signal. Meanwhile it takes orders
 * from standard input, each answered by a line "ok" or "error: ..."; its end means nothing.
 */
#ifndef APP_WAN_HOST_H
#define APP_WAN_HOST_H

#include "quic/log.h"

/* Returns an exit status (app/exit.h); the log was told what is wrong. */
int wan_host_run(const char *file, const struct log *log);

#endif
