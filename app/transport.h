/*
 * transport - QUIC and TLS as client and server of this program want them.
 *
 * Calls that can fail return an exit status (app/exit.h) and have told the log why.
 */
#ifndef APP_TRANSPORT_H
#define APP_TRANSPORT_H

#include "app/config.h"
#include "quic/cert.h"
#include "quic/log.h"
#include "quic/quic.h"
#include "quic/tls.h"

/* Fill `q`; reset_key stays zero. All arguments are borrowed by `q`. */
void transport_config(struct quic_config *q, const struct config *cfg, struct tls_ctx *tls,
                      const struct rng *rng, const struct log *log);

/* The largest UDP payload on a link of that MTU, within what a jumbo frame carries. */
size_t transport_payload(unsigned link_mtu_bytes, bool v6);

/* TLS for a client: verification as --pin, --ca and --insecure say. */
int transport_client_tls(const struct config *cfg, const struct log *log, struct tls_ctx **out);

/*
 * TLS for a server: its certificate from --cert and --key, else the one kept in the state
 * directory, else a new one, kept there. `pin` is the certificate's; `own` says that it
 * is one made here, which clients can only accept by its pin. `ticket_key` is the secret of its
 * session tickets.
 */
int transport_server_tls(const struct config *cfg, const struct log *log, struct span ticket_key,
                         struct tls_ctx **out, char pin[TLS_PIN_TEXT], bool *own);

#endif
