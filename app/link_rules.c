#include "app/link_rules.h"

#include <fnmatch.h>
#include <string.h>

/* Made by virtual machines and containers for themselves, and no way out as a rule. */
static const char *const inner[] = {"docker*", "veth*",    "virbr*",         "vnet*",
                                    "lxcbr*",  "lxdbr*",   "cni*",           "cali*",
                                    "podman*", "flannel*", "br-????????????"};

static bool matches(const char *pattern, const char *name)
{
    return fnmatch(pattern, name, 0) == 0;
}

/* The first of `pattern` that `name` matches; `n` if none. */
static size_t first_match(char *const *pattern, size_t n, const char *name)
{
    size_t i = 0;

    while (i < n && !matches(pattern[i], name))
        i++;
    return i;
}

static bool is_inner(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(inner); i++)
        if (matches(inner[i], name))
            return true;
    return false;
}

/* The `n` characters at `p` as a priority. */
static bool is_priority(const char *p, size_t n, enum link_priority *out)
{
    static const char *const word[] = {"primary", "secondary", "backup", "never"};

    for (size_t i = 0; i < ARRAY_LEN(word); i++) {
        if (strlen(word[i]) == n && memcmp(word[i], p, n) == 0) {
            *out = (enum link_priority)i;
            return true;
        }
    }
    return false;
}

/* The `n` characters at `p` as a rate: digits and a unit. */
static bool is_rate(const char *p, size_t n, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t bps;
    } unit[] = {{"kbit", 1000}, {"mbit", 1000000}, {"gbit", 1000000000}};
    uint64_t v = 0;
    size_t i = 0;

    for (; i < n && i < 9 && p[i] >= '0' && p[i] <= '9'; i++)
        v = v * 10 + (uint64_t)(p[i] - '0');
    for (size_t k = 0; i > 0 && k < ARRAY_LEN(unit); k++) {
        if (n - i != strlen(unit[k].name) || memcmp(p + i, unit[k].name, n - i) != 0)
            continue;
        *out = v * unit[k].bps;
        return *out >= LINK_RATE_MIN && *out <= LINK_RATE_MAX;
    }
    return false;
}

bool link_rule_parse(const char *text, char pattern[64], struct link_terms *terms)
{
    const char *eq = strrchr(text, '='), *p = eq, *end;
    size_t n = eq ? (size_t)(eq - text) : 0;
    bool ranked = false;

    *terms = (struct link_terms){0};
    if (n == 0 || n >= 64)
        return false;
    memcpy(pattern, text, n);
    pattern[n] = 0;
    do {
        p++;
        end = p + strcspn(p, ":");
        if (!ranked && is_priority(p, (size_t)(end - p), &terms->priority))
            ranked = true;
        else if (terms->rate_bps || !is_rate(p, (size_t)(end - p), &terms->rate_bps))
            return false;
        p = end;
    } while (*p);
    return true;
}

struct link_terms link_rules_terms(const struct link_rules *rules, const char *name)
{
    struct link_terms t;
    char pattern[64];

    for (size_t i = 0; i < rules->n_links; i++)
        if (link_rule_parse(rules->links[i], pattern, &t) && matches(pattern, name))
            return t;
    return (struct link_terms){LINK_PRIMARY, 0};
}

/* What makes one link better than another, most important first. */
struct rank {
    enum link_priority priority;
    size_t place;
    bool other; /* than the routing table's choice */
    uint32_t metric;
};

static struct rank rank_of(const struct link_rules *r, const struct link_seen *s)
{
    return (struct rank){link_rules_terms(r, s->name).priority,
                         first_match(r->paths, r->n_paths, s->name), !s->answer,
                         s->default_route ? s->metric : UINT32_MAX};
}

static bool better(const struct rank *a, const struct rank *b)
{
    if (a->priority != b->priority)
        return a->priority < b->priority;
    if (a->place != b->place)
        return a->place < b->place;
    if (a->other != b->other)
        return b->other;
    return a->metric < b->metric;
}

/* Whether the user lets it be one, and something leads to the server by it. */
static bool eligible(const struct link_rules *r, const struct link_seen *s)
{
    if (!s->reaches || (s->loopback && !s->answer))
        return false;
    if (first_match(r->no_paths, r->n_no_paths, s->name) < r->n_no_paths ||
        link_rules_terms(r, s->name).priority == LINK_NEVER)
        return false;
    if (r->n_paths > 0)
        return first_match(r->paths, r->n_paths, s->name) < r->n_paths;
    return s->default_route || s->answer;
}

size_t link_rules_decide(const struct link_rules *rules, const struct link_seen *seen, size_t n,
                         struct link *out, size_t max)
{
    struct rank rank[LINKS_MAX];
    bool outer = false;
    size_t count = 0;

    if (max > LINKS_MAX)
        max = LINKS_MAX;
    for (size_t i = 0; i < n; i++)
        outer |= eligible(rules, &seen[i]) && !is_inner(seen[i].name);
    for (size_t i = 0; i < n; i++) {
        const struct link_seen *s = &seen[i];
        struct rank mine = rank_of(rules, s);
        size_t at = count;

        if (!eligible(rules, s) || (rules->n_paths == 0 && outer && is_inner(s->name)))
            continue;
        while (at > 0 && better(&mine, &rank[at - 1]))
            at--;
        if (at == max)
            continue;
        if (count == max)
            count--;
        memmove(&rank[at + 1], &rank[at], (count - at) * sizeof(*rank));
        memmove(&out[at + 1], &out[at], (count - at) * sizeof(*out));
        rank[at] = mine;
        out[at] = (struct link){.ifindex = s->ifindex,
                                .family = s->family,
                                .local = s->local,
                                .mtu_bytes = s->mtu_bytes,
                                .priority = mine.priority,
                                .rate_bps = link_rules_terms(rules, s->name).rate_bps};
        memcpy(out[at].name, s->name, sizeof(out[at].name));
        count++;
    }
    return count;
}
