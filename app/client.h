/*
 * client - joins a server and keeps the tunnel up until told to stop.
 *
 * `config` and `log` are borrowed. Returns an exit status (app/exit.h); whatever went
 * wrong has been told to the log in a sentence, and nothing is left on the machine.
 */
#ifndef APP_CLIENT_H
#define APP_CLIENT_H

#include "app/config.h"
#include "quic/log.h"

int client_run(const struct config *config, const struct log *log);

#endif
