/*
 * status_show - `mqvpn status`: asks a running instance, and shows what it says.
 */
#ifndef APP_STATUS_SHOW_H
#define APP_STATUS_SHOW_H

#include "app/config.h"

#define STATUS_COLUMNS 80 /* no line of status_show_text is longer */

/*
 * Ask the instance that `config` names; print its answer as it is (--json) or for a person, once
 * or each second (--watch) until a signal. Returns an exit status; the log was told what is wrong.
 */
int status_show_run(const struct config *config, const struct log *log);

/* The answer `json` (docs/status.md) for a person. */
void status_show_text(FILE *to, const char *json);

#endif
