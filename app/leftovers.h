/*
 * leftovers - what a killed instance left on this machine, taken back at the next start.
 *
 * Joins the undo kinds of all modules: routes and addresses (netcfg), sysctls, the NAT
 * table, resolv.conf.
 */
#ifndef APP_LEFTOVERS_H
#define APP_LEFTOVERS_H

#include "app/undo.h"
#include "tun/netcfg.h"

/*
 * Take back what dead instances recorded in the directory of `u`, and a resolv.conf (at
 * `resolv_path`, NULL: the usual one, "": don't look) whose journal is lost. To be called
 * once at start, before anything is changed. Each step is a line to `log`.
 *
 * Returns how many changes were taken back; failures are warnings to the log and tried
 * again by the next start.
 */
int leftovers_recover(struct undo *u, const char *resolv_path, const struct log *log);

/* The journal `u` as netcfg wants it. Borrows `u`, which must outlive the netcfg. */
struct netcfg_journal leftovers_netcfg_journal(struct undo *u);

#endif
