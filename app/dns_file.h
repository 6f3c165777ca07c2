/*
 * dns_file - a resolv.conf replaced and put back. For dns*.c only; the model is in dns.h.
 */
#ifndef APP_DNS_FILE_H
#define APP_DNS_FILE_H

#include "app/dns.h"

#define DNS_PATH_SIZE 1024 /* longest path of a resolv.conf with its NUL */

enum dns_how {
    DNS_RENAMED, /* the original stands beside the file */
    DNS_CREATED, /* there was none */
    DNS_IN_PLACE /* the original bytes are kept in memory and journal */
};

struct dns_file {
    enum dns_how how;
    char path[DNS_PATH_SIZE];
    char *ours;      /* what we wrote */
    char *original;  /* DNS_IN_PLACE: what was there */
    uint64_t record; /* in the journal */
    bool recorded;
};

/*
 * Replace cfg->path so that it names cfg->servers. On success `f` is to be given to
 * dns_file_restore. Errors as dns_start.
 */
int dns_file_apply(struct dns_file *f, const struct dns_cfg *cfg, struct undo *u, char *why,
                   size_t why_size);

/*
 * Put the original back if the file is still ours, close the record, free what `f` holds.
 * Returns 0; 1 (somebody else's file was left); or -errno: the record stays.
 */
int dns_file_restore(struct dns_file *f, struct undo *u, char *why, size_t why_size);

#endif
