#include "app/leftovers.h"

#include "app/dns.h"
#include "app/nat.h"
#include "app/sysctl.h"

#define KIND "netcfg"

static int revert(struct undo *u, const char *text, char *why, size_t why_size)
{
    (void)u;
    return netcfg_revert(text, why, why_size);
}

int leftovers_recover(struct undo *u, const char *resolv_path, const struct log *log)
{
    const struct undo_kind kinds[] = {
        {.name = KIND, .in_kernel = true, .revert = revert},
        sysctl_undo_kind,
        nat_undo_kind,
        dns_undo_kind,
    };
    char why[WHY_SIZE] = "";
    int n = undo_recover(u, kinds, ARRAY_LEN(kinds), log, why, sizeof(why)), dns = 0;

    if (n < 0) {
        LOG_AT(log, LOG_WARN, "%s", why);
        n = 0;
    }
    if (!resolv_path || resolv_path[0])
        dns = dns_recover(resolv_path, why, sizeof(why));
    if (dns < 0)
        LOG_AT(log, LOG_WARN, "%s", why);
    else if (dns > 0)
        LOG_AT(log, LOG_INFO, "the name servers are again what they were before mqvpn");
    return n + (dns > 0 ? dns : 0);
}

static int before(void *ctx, const char *line, uint64_t *id, char *why, size_t why_size)
{
    return undo_add(ctx, KIND, line, id, why, why_size);
}

static void after(void *ctx, uint64_t id)
{
    undo_done(ctx, id);
}

struct netcfg_journal leftovers_netcfg_journal(struct undo *u)
{
    return (struct netcfg_journal){.before = before, .after = after, .ctx = u};
}
