#include "app/dns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "app/dns_file.h"
#include "app/dns_resolved.h"
#include "tun/tun.h"

struct dns {
    struct undo *undo;
    const struct log *log;
    bool resolved;
    char program[RESOLVED_PATH];
    char tun_name[TUN_NAME_MAX + 1];
    struct dns_file file;
};

static int check(const struct dns_cfg *cfg, char *why, size_t why_size)
{
    if (cfg->n_servers == 0 || cfg->n_servers > DNS_SERVERS_MAX)
        return why_set(why, why_size, -EINVAL, "--dns takes 1 to %d name servers, not %zu",
                       DNS_SERVERS_MAX, cfg->n_servers);
    for (size_t i = 0; i < cfg->n_servers; i++) {
        if (!tun_addr_size(cfg->servers[i].family))
            return why_set(why, why_size, -EINVAL, "a name server of --dns has no address");
    }
    return tun_name_check(cfg->tun_name, false, why, why_size);
}

int dns_start(struct dns **out, const struct dns_cfg *cfg, struct undo *u,
              const struct log *log, char *why, size_t why_size)
{
    int err = check(cfg, why, why_size);
    struct dns *dns;

    if (err)
        return err;
    dns = calloc(1, sizeof(*dns));
    if (!dns)
        return why_set(why, why_size, -ENOMEM, "out of memory");
    dns->undo = u;
    dns->log = log;
    strcpy(dns->tun_name, cfg->tun_name);
    if (resolved_serves(cfg, dns->program)) {
        char said[WHY_SIZE] = "";

        dns->resolved = resolved_apply(dns->program, cfg, said, sizeof(said)) == 0;
        if (!dns->resolved)
            LOG_AT(log, LOG_WARN, "%s; resolv.conf is replaced instead", said);
    }
    if (!dns->resolved)
        err = dns_file_apply(&dns->file, cfg, u, why, why_size);
    if (err) {
        free(dns);
        return err;
    }
    *out = dns;
    return 0;
}

void dns_stop(struct dns *dns)
{
    char why[WHY_SIZE] = "";
    int rc;

    if (!dns)
        return;
    rc = dns->resolved ? resolved_revert(dns->program, dns->tun_name, why, sizeof(why))
                       : dns_file_restore(&dns->file, dns->undo, why, sizeof(why));
    if (rc < 0)
        LOG_AT(dns->log, LOG_WARN, "%s", why);
    else if (rc == 1)
        LOG_AT(dns->log, LOG_INFO, "%s was written by somebody else meanwhile: it stays",
               dns->file.path);
    free(dns);
}

bool dns_by_resolved(const struct dns *dns)
{
    return dns->resolved;
}
