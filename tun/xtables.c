#include "tun/xtables.h"

#include <net/if.h>
#include <netinet/in.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOB_MAX (64u << 20)

/* The layouts of both families agree in all that is read here but for the entry's size. */
_Static_assert(sizeof(struct ipt_getinfo) == sizeof(struct ip6t_getinfo), "same layout");
_Static_assert(sizeof(struct ipt_get_entries) == sizeof(struct ip6t_get_entries),
               "same layout");

static bool table_in_use(const char *file)
{
    char line[64];
    bool found = false;
    FILE *f = fopen(file, "re");

    while (f && !found && fgets(line, sizeof(line), f))
        found = !strcmp(line, "filter\n");
    if (f)
        fclose(f);
    return found;
}

/* All entries of the table, to be freed; NULL where they can't be read. */
static struct ipt_get_entries *entries(int fd, int level, const struct ipt_getinfo *info)
{
    socklen_t len = (socklen_t)(sizeof(struct ipt_get_entries) + info->size);
    struct ipt_get_entries *e;

    if (info->size > BLOB_MAX)
        return NULL;
    e = calloc(1, len);
    if (!e)
        return NULL;
    strcpy(e->name, "filter");
    e->size = info->size;
    if (getsockopt(fd, level, IPT_SO_GET_ENTRIES, e, &len) == 0)
        return e;
    free(e);
    return NULL;
}

/* Whether the standard target at the end of the forward chain is DROP. */
static bool policy_drop(const struct ipt_get_entries *e, const struct ipt_getinfo *info,
                        size_t entry_size)
{
    size_t at = info->underflow[NF_INET_FORWARD] + entry_size;
    struct xt_standard_target target;

    if (!(info->valid_hooks & 1u << NF_INET_FORWARD) || at + sizeof(target) > info->size)
        return false;
    memcpy(&target, (const char *)e->entrytable + at, sizeof(target));
    return target.target.u.user.name[0] == '\0' && target.verdict == -NF_DROP - 1;
}

bool xtables_forward_drop(sa_family_t family, const char *tun_name, bool *named)
{
    bool v6 = family == AF_INET6, drop = false;
    int level = v6 ? SOL_IPV6 : SOL_IP, fd;
    struct ipt_getinfo info = {.name = "filter"};
    socklen_t len = sizeof(info);
    struct ipt_get_entries *e = NULL;

    *named = false;
    if (!table_in_use(v6 ? "/proc/thread-self/net/ip6_tables_names"
                         : "/proc/thread-self/net/ip_tables_names"))
        return false;
    fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    if (fd < 0)
        return false;
    if (getsockopt(fd, level, IPT_SO_GET_INFO, &info, &len) == 0)
        e = entries(fd, level, &info);
    if (e) {
        drop = policy_drop(e, &info, v6 ? sizeof(struct ip6t_entry) : sizeof(struct ipt_entry));
        *named = memmem(e->entrytable, info.size, tun_name, strlen(tun_name) + 1) != NULL;
        free(e);
    }
    close(fd);
    return drop;
}
