/*
 * nft_int - the one thing that nft*.c share.
 */
#ifndef TUN_NFT_INT_H
#define TUN_NFT_INT_H

#include "tun/netlink.h"
#include "tun/nft.h"

struct nft {
    struct netlink nl;
};

#endif
