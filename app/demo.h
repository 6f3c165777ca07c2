/*
 * demo - two hosts in private namespaces, a link between them, one tunnel over it.
 *
 * Touches nothing of this machine: the hosts are anonymous network namespaces held by
 * children that die with the program. Returns an exit status: 0 only if every byte that
 * was sent through the tunnel arrived intact.
 */
#ifndef APP_DEMO_H
#define APP_DEMO_H

#include "app/config.h"

int demo_run(const struct config *config, const struct log *log);

#endif
