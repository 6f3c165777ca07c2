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

static bool is_word(const char *p, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(word, p, n) == 0;
}

/* The `n` characters at `p` as a priority. */
static bool is_priority(const char *p, size_t n, enum link_priority *out)
{
    static const char *const word[] = {"primary", "secondary", "backup", "never"};

    for (size_t i = 0; i < ARRAY_LEN(word); i++) {
        if (is_word(p, n, word[i])) {
            *out = (enum link_priority)i;
            return true;
        }
    }
    return false;
}

struct unit {
    const char *name;
    uint64_t is;
};

/* The `n` characters at `p` as digits and one of three units. */
static bool is_amount(const char *p, size_t n, const struct unit unit[3], uint64_t *out)
{
    uint64_t v = 0;
    size_t i = 0;

    for (; i < n && i < 9 && p[i] >= '0' && p[i] <= '9'; i++)
        v = v * 10 + (uint64_t)(p[i] - '0');
    for (size_t k = 0; i > 0 && k < 3; k++) {
        if (!is_word(p + i, n - i, unit[k].name))
            continue;
        *out = v * unit[k].is;
        return true;
    }
    return false;
}

static bool is_rate(const char *p, size_t n, uint64_t *out)
{
    static const struct unit unit[] = {{"kbit", 1000}, {"mbit", 1000000}, {"gbit", 1000000000}};

    return is_amount(p, n, unit, out) && *out >= LINK_RATE_MIN && *out <= LINK_RATE_MAX;
}

static bool is_volume(const char *p, size_t n, uint64_t *out)
{
    static const struct unit unit[] = {
        {"mb", 1000000}, {"gb", 1000000000}, {"tb", 1000000000000}};

    return is_amount(p, n, unit, out) && *out > 0;
}

/* One of the terms; each may be there once. */
static bool take_term(const char *p, size_t n, struct link_terms *t, bool *ranked)
{
    if (is_word(p, n, "all") && !t->all)
        return t->all = true;
    if (!*ranked && is_word(p, n, "metered")) {
        t->priority = LINK_BACKUP;
        return *ranked = true;
    }
    if (!*ranked && is_priority(p, n, &t->priority))
        return *ranked = true;
    return (!t->rate_bps && is_rate(p, n, &t->rate_bps)) ||
           (!t->month_bytes && is_volume(p, n, &t->month_bytes));
}

bool link_rule_parse(const char *text, char pattern[64], struct link_terms *terms)
{
    const char *eq = strrchr(text, '='), *p = eq;
    size_t n = eq ? (size_t)(eq - text) : 0;
    bool ranked = false;

    *terms = (struct link_terms){0};
    if (n == 0 || n >= 64)
        return false;
    memcpy(pattern, text, n);
    pattern[n] = 0;
    do {
        p++;
        n = strcspn(p, ":");
        if (!take_term(p, n, terms, &ranked))
            return false;
        p += n;
    } while (*p);
    if (terms->month_bytes && !ranked)
        terms->priority = LINK_BACKUP;
    return true;
}

struct link_terms link_rules_terms(const struct link_rules *rules, const char *name)
{
    struct link_terms t;
    char pattern[64];

    for (size_t i = 0; i < rules->n_links; i++)
        if (link_rule_parse(rules->links[i], pattern, &t) && matches(pattern, name))
            return t;
    return (struct link_terms){.priority = LINK_PRIMARY};
}

bool link_rules_metered(const struct link_rules *rules)
{
    struct link_terms t;
    char pattern[64];

    for (size_t i = 0; i < rules->n_links; i++)
        if (link_rule_parse(rules->links[i], pattern, &t) && t.month_bytes)
            return true;
    return false;
}

static bool spent(const struct link_rules *r, const char *name, const struct link_terms *t)
{
    return t->month_bytes && r->used && r->used(r->used_ctx, name) >= t->month_bytes;
}

bool link_rules_spent(const struct link_rules *rules, const char *name)
{
    struct link_terms t = link_rules_terms(rules, name);

    return spent(rules, name, &t);
}

/* What makes one link better than another, most important first. */
struct rank {
    bool inner; /* and nobody has asked for it */
    enum link_priority priority;
    size_t place;
    bool other; /* than the routing table's choice */
    uint32_t metric;
};

static struct rank rank_of(const struct link_rules *r, const struct link_seen *s,
                           const struct link_terms *t)
{
    return (struct rank){r->n_paths == 0 && is_inner(s->name), t->priority,
                         first_match(r->paths, r->n_paths, s->name), !s->answer,
                         s->default_route ? s->metric : UINT32_MAX};
}

static bool better(const struct rank *a, const struct rank *b)
{
    if (a->inner != b->inner)
        return b->inner;
    if (a->priority != b->priority)
        return a->priority < b->priority;
    if (a->place != b->place)
        return a->place < b->place;
    if (a->other != b->other)
        return b->other;
    return a->metric < b->metric;
}

/* Whether the user lets it be one, and something leads to the server by it. */
static bool eligible(const struct link_rules *r, const struct link_seen *s,
                     const struct link_terms *t)
{
    if (!s->reaches || (s->loopback && !s->answer))
        return false;
    if (first_match(r->no_paths, r->n_no_paths, s->name) < r->n_no_paths ||
        t->priority == LINK_NEVER || spent(r, s->name, t))
        return false;
    if (r->n_paths > 0)
        return first_match(r->paths, r->n_paths, s->name) < r->n_paths;
    return s->default_route || s->answer;
}

size_t link_rules_decide(const struct link_rules *rules, const struct link_seen *seen, size_t n,
                         struct link *out, size_t max)
{
    struct rank rank[LINKS_MAX];
    size_t count = 0;

    if (max > LINKS_MAX)
        max = LINKS_MAX;
    for (size_t i = 0; i < n; i++) {
        const struct link_seen *s = &seen[i];
        struct link_terms terms = link_rules_terms(rules, s->name);
        struct rank mine = rank_of(rules, s, &terms);
        size_t at = count;

        if (!eligible(rules, s, &terms))
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
                                .priority = terms.priority,
                                .rate_bps = terms.rate_bps,
                                .month_bytes = terms.month_bytes,
                                .all = terms.all};
        memcpy(out[at].name, s->name, sizeof(out[at].name));
        count++;
    }
    while (count > 0 && rank[count - 1].inner && !rank[0].inner)
        count--;
    return count;
}
