/*
 * server - lets clients in and carries their packets, until told to stop.
 *
 * `config` and `log` are borrowed. Returns an exit status (app/exit.h); whatever went
 * wrong has been told to the log in a sentence, and nothing is left on the machine but
 * what the state directory is for.
 */
#ifndef APP_SERVER_H
#define APP_SERVER_H

#include "app/config.h"
#include "quic/log.h"

int server_run(const struct config *config, const struct log *log);

#endif
