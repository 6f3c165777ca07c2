/*
 * tun_ns - private network namespaces for tests: enter, look at, compare.
 *
 * Nothing here or in a test that begins with ns_enter() touches the namespace it was
 * started in. As root a network namespace is enough; otherwise a user namespace is entered
 * first, once, where the system allows it.
 */
#ifndef TEST_TUN_NS_H
#define TEST_TUN_NS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tun/netlink.h"

__attribute__((unused)) static bool ns_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return ok;
}

/* Become root of a new user namespace. */
static bool ns_user(void)
{
    char map[64], gmap[64];

    snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
    snprintf(gmap, sizeof(gmap), "0 %u 1", (unsigned)getegid());
    if (unshare(CLONE_NEWUSER))
        return false;
    ns_write("/proc/self/setgroups", "deny");
    return ns_write("/proc/self/uid_map", map) && ns_write("/proc/self/gid_map", gmap);
}

/* Enter a new, empty network namespace with its loopback up. False: not permitted here. */
__attribute__((unused)) static bool ns_enter(void)
{
    struct ifreq ifr = {.ifr_name = "lo"};
    int fd;

    if (unshare(CLONE_NEWNET)) {
        if (!ns_user() || unshare(CLONE_NEWNET)) {
            printf("private network namespaces are not permitted here: %s\n", strerror(errno));
            return false;
        }
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifr.ifr_flags = IFF_UP;
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr)) {
        perror("loopback");
        abort();
    }
    close(fd);
    return true;
}

/* A descriptor of the present network namespace, for ns_back and ns_veth. */
__attribute__((unused)) static int ns_here(void)
{
    return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

__attribute__((unused)) static void ns_back(int fd)
{
    if (setns(fd, CLONE_NEWNET)) {
        perror("setns");
        abort();
    }
}

/* A veth pair: `here` in this namespace, `there` in that of `fd` (-1: this one). 0 or -errno. */
__attribute__((unused)) static int ns_veth(const char *here, const char *there, int fd)
{
    struct netlink n;
    struct nlattr *info, *data, *peer;
    struct nlmsghdr *nlh;
    void *head;
    int err = netlink_open(&n, NETLINK_ROUTE);

    if (err)
        return err;
    nlh = netlink_begin(&n, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg),
                        &head);
    mnl_attr_put_strz(nlh, IFLA_IFNAME, here);
    info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
    mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
    data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
    peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(nlh, IFLA_IFNAME, there);
    if (fd >= 0)
        mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)fd);
    mnl_attr_nest_end(nlh, peer);
    mnl_attr_nest_end(nlh, data);
    mnl_attr_nest_end(nlh, info);
    err = netlink_ask(&n, nlh, NULL, NULL);
    netlink_close(&n);
    return err;
}

/* Remove a link. 0 or -errno. */
__attribute__((unused)) static int ns_unlink(const char *name)
{
    struct ifinfomsg *ifi;
    struct netlink n;
    struct nlmsghdr *nlh;
    void *head;
    int err = netlink_open(&n, NETLINK_ROUTE);

    if (err)
        return err;
    nlh = netlink_begin(&n, RTM_DELLINK, 0, sizeof(*ifi), &head);
    ifi = head;
    ifi->ifi_index = (int)if_nametoindex(name);
    err = netlink_ask(&n, nlh, NULL, NULL);
    netlink_close(&n);
    return err;
}

static int ns_by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Lines of a file under /proc/net, each passed through `keep` (NULL: skip) and prefixed. */
static size_t ns_lines(const char *file, const char *(*keep)(char *line), char **lines,
                       size_t n, size_t max)
{
    char path[64], line[512], text[600];
    FILE *f;

    snprintf(path, sizeof(path), "/proc/thread-self/net/%s", file);
    f = fopen(path, "re");
    while (f && n < max && fgets(line, sizeof(line), f)) {
        const char *kept = keep(line);

        if (!kept)
            continue;
        snprintf(text, sizeof(text), "%s: %s", file, kept);
        lines[n++] = strdup(text);
    }
    if (f)
        fclose(f);
    return n;
}

/* Leaves of the IPv4 trie, each prefix line joined with its address. */
static const char *ns_keep_fib(char *line)
{
    static char last[64], out[512];
    char *p = strstr(line, "|-- ");

    if (p) {
        snprintf(last, sizeof(last), "%.40s", p + 4);
        last[strcspn(last, "\n")] = '\0';
        return NULL;
    }
    p = strchr(line, '/');
    if (!p || strstr(line, "+--"))
        return NULL;
    snprintf(out, sizeof(out), "%s%.200s", last, p);
    return out;
}

/* An IPv6 route without its use counters. */
static const char *ns_keep_route6(char *line)
{
    static char out[512];
    char dst[33], dlen[3], src[33], slen[3], hop[33], metric[9], flags[9], dev[17];

    if (sscanf(line, "%32s %2s %32s %2s %32s %8s %*s %*s %8s %16s", dst, dlen, src, slen, hop,
               metric, flags, dev) != 8)
        return NULL;
    snprintf(out, sizeof(out), "%s/%s %s %s %s %s\n", dst, dlen, hop, metric, flags, dev);
    return out;
}

static const char *ns_keep_all(char *line)
{
    return line;
}

/* MTU and flags of all links. */
static size_t ns_links(char **lines, size_t n, size_t max)
{
    struct if_nameindex *list = if_nameindex();
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char text[128];

    for (size_t i = 0; list && list[i].if_index && n < max; i++) {
        struct ifreq ifr = {0};
        int mtu, flags;

        strncpy(ifr.ifr_name, list[i].if_name, IFNAMSIZ - 1);
        mtu = ioctl(fd, SIOCGIFMTU, &ifr) ? -1 : ifr.ifr_mtu;
        flags = ioctl(fd, SIOCGIFFLAGS, &ifr) ? -1 : ifr.ifr_flags;
        snprintf(text, sizeof(text), "link: %s mtu %d flags %x\n", list[i].if_name, mtu,
                 (unsigned)flags);
        lines[n++] = strdup(text);
    }
    if_freenameindex(list);
    close(fd);
    return n;
}

/*
 * Links, addresses and routes of all tables of the present namespace as sorted text, read
 * from /proc and by ioctl, not by the code under test. The caller frees it.
 */
__attribute__((unused)) static char *ns_dump(void)
{
    static char *lines[4096];
    size_t n = 0, bytes = 1;
    char *out;

    n = ns_links(lines, n, ARRAY_LEN(lines));
    n = ns_lines("fib_trie", ns_keep_fib, lines, n, ARRAY_LEN(lines));
    n = ns_lines("if_inet6", ns_keep_all, lines, n, ARRAY_LEN(lines));
    n = ns_lines("ipv6_route", ns_keep_route6, lines, n, ARRAY_LEN(lines));
    qsort(lines, n, sizeof(*lines), ns_by_text);
    for (size_t i = 0; i < n; i++)
        bytes += strlen(lines[i]);
    out = calloc(1, bytes);
    for (size_t i = 0; i < n; i++) {
        strcat(out, lines[i]);
        free(lines[i]);
    }
    return out;
}

/* Whether IPv6 has made its routes for link `name` and for each address. */
static bool ns_settled(const char *name)
{
    char *dump = ns_dump(), *line = dump, *end, want[64];
    bool multicast = access("/proc/sys/net/ipv6", F_OK) != 0, local = true;
    size_t n = strlen(name);

    for (; (end = strchr(line, '\n')); line = end + 1) {
        if (!strncmp(line, "ipv6_route: ff00", 16) && (size_t)(end - line) > n &&
            !strncmp(end - n, name, n))
            multicast = true;
        if (!strncmp(line, "if_inet6: ", 10)) {
            snprintf(want, sizeof(want), "ipv6_route: %.32s/80", line + 10);
            local = local && strstr(dump, want);
        }
    }
    free(dump);
    return multicast && local;
}

/* Wait until IPv6 has taken note that link `name` is up, which it does in its own time. */
__attribute__((unused)) static void ns_settle(const char *name)
{
    for (int i = 0; i < 500; i++) {
        if (ns_settled(name))
            return;
        usleep(10000);
    }
    printf("%s does not come up\n", name);
    abort();
}

#endif
