/*
 * demo_stage - the demo's two hosts, the two links between them, and who acts there.
 *
 *        near host (namespace)           this process              far host (namespace)
 *   demo_near -> mqvpn0                                         mqvpn0 -> demo_far
 *                mqvpn client -> wan0 ==[ link A: rate,   delay   ]== wan0 -> mqvpn server
 *                             -> wan1 ==[ link B: rate/2, delay*2 ]== wan1 ->
 *
 * Each host has two TUN devices whose other ends this process holds; a child carries packets
 * between them at the rate and delay of the emulated links (app/wan.h). Client and server are
 * this same program, run by child processes inside the namespaces, with a certificate and a key
 * that live in memory alone. The kernel's own TCP runs above.
 *
 * Namespaces without names and children that die with their parent: whatever ends this
 * process ends the demo, and nothing remains.
 */
#ifndef APP_DEMO_STAGE_H
#define APP_DEMO_STAGE_H

#include "app/config.h"
#include "app/demo_traffic.h"
#include "app/ns.h"
#include "app/wan.h"
#include "quic/cert.h"

#define DEMO_LINKS 2
#define DEMO_TUN   "mqvpn0"

enum demo_host { DEMO_FAR, DEMO_NEAR, DEMO_HOSTS };
enum demo_child { DEMO_WAN, DEMO_SERVER, DEMO_CLIENT, DEMO_ECHO, DEMO_USER, DEMO_CHILDREN };

struct demo_stage {
    const struct config *cfg; /* the demo's own */
    const struct log *log;
    const struct demo_traffic *traffic;
    struct config side[DEMO_HOSTS];
    struct ns ns[DEMO_HOSTS];
    int wan_fd[DEMO_LINKS][DEMO_HOSTS];
    struct wan_shape shape[DEMO_LINKS];
    struct wan *wan;
    struct ns_child child[DEMO_CHILDREN];
    char key[64], pin[TLS_PIN_TEXT], cert_path[64], key_path[64], server[64];
    char *pin_list[1];
    int memfd[2];
};

/*
 * Namespaces, links and addresses; then all children are at work. `cfg`, `log` and `traffic`
 * are borrowed. Returns 0, or a negative errno with a sentence in `why`: -EPERM and the like where
 * the system does not allow it. demo_stage_clear is to be called in any case.
 */
int demo_stage_build(struct demo_stage *s, const struct config *cfg, const struct log *log,
                     const struct demo_traffic *traffic, char *why, size_t why_size);
void demo_stage_clear(struct demo_stage *s);

/* How a link is: there, unplugged at the near host, or a silent black hole on the way. */
enum demo_wire { DEMO_WHOLE, DEMO_UNPLUGGED, DEMO_CUT };

void demo_stage_wire(struct demo_stage *s, size_t link, enum demo_wire wire);

/* Bytes that the link has carried towards the near host. */
uint64_t demo_stage_carried(const struct demo_stage *s, size_t link);

/* Whether the client has ended; it is reaped then. */
bool demo_stage_client_gone(struct demo_stage *s);

#endif
