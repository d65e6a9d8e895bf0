/* bpf(2) for guests: maps. */
#ifndef BPF_GUEST_H
#define BPF_GUEST_H
#include "guest.h"
#include <linux/bpf.h>

static inline int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof *attr);
}

static inline int map_create(int type, int key, int value, int entries, int flags, const char *name)
{
	union bpf_attr attr = { .map_type = type, .key_size = key, .value_size = value, .max_entries = entries, .map_flags = flags };
	strcpy(attr.map_name, name);
	int fd = bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0)
		SKIP("BPF_MAP_CREATE: %s", strerror(errno));
	return fd;
}

static inline int map_put(int fd, const void *key, const void *value)
{
	union bpf_attr attr = { .map_fd = fd, .key = (uint64_t)key, .value = (uint64_t)value };
	return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

static inline int map_get(int fd, const void *key, void *value)
{
	union bpf_attr attr = { .map_fd = fd, .key = (uint64_t)key, .value = (uint64_t)value };
	return bpf(BPF_MAP_LOOKUP_ELEM, &attr);
}

static inline struct bpf_map_info map_info(int fd)
{
	struct bpf_map_info info = {};
	union bpf_attr attr = { .info.bpf_fd = fd, .info.info_len = sizeof info, .info.info = (uint64_t)&info };
	OK(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr));
	return info;
}

static inline void map_same(struct bpf_map_info was, struct bpf_map_info is)
{
	EQ(is.type, was.type);
	EQ(is.key_size, was.key_size);
	EQ(is.value_size, was.value_size);
	EQ(is.max_entries, was.max_entries);
	EQ(is.map_flags, was.map_flags);
	STR_EQ(is.name, was.name);
}
#endif
