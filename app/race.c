#include "app/race.h"

/* The ways whose places (of link and of address) add up to `sum`. */
static size_t diagonal(const struct link *links, size_t n, const union udp_addr *remote,
                       size_t m, size_t first, size_t sum, struct race_way *out, size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i < n && i <= sum && count < max; i++) {
        size_t k = (first + sum - i) % m;

        if (sum - i < m && remote[k].sa.sa_family == links[i].family)
            out[count++] = (struct race_way){links[i].id, k};
    }
    return count;
}

size_t race_plan(const struct link *links, size_t n, const union udp_addr *remote, size_t m,
                 size_t first, struct race_way *out, size_t max)
{
    size_t usual = 0, count = 0;

    while (usual < n && links[usual].priority < LINK_BACKUP) /* they are sorted by it */
        usual++;
    for (size_t sum = 0; m > 0 && sum < usual + m; sum++)
        count += diagonal(links, usual, remote, m, first, sum, out + count, max - count);
    for (size_t sum = 0; m > 0 && sum < n - usual + m; sum++)
        count +=
            diagonal(links + usual, n - usual, remote, m, first, sum, out + count, max - count);
    return count;
}
