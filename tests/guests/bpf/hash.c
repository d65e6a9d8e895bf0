/* A hash behind several descriptors, shared with a child: one copy, one for reading, one for writing. */
#include "../bpf.h"
static int by_id(uint32_t id, uint32_t flags)
{
	union bpf_attr attr = { .map_id = id, .open_flags = flags };
	return OK(bpf(BPF_MAP_GET_FD_BY_ID, &attr));
}
int main(void)
{
	int map = map_create(BPF_MAP_TYPE_HASH, 9, 5, 1000, BPF_F_NO_PREALLOC, "a_hash");
	int copy = OK(dup(map)), r = by_id(map_info(map).id, BPF_F_RDONLY), w = by_id(map_info(map).id, BPF_F_WRONLY);
	char key[9] = {}, value[5] = {};
	for (int i = 0; i < 600; i++) {
		sprintf(key, "%d", i);
		sprintf(value, "%d", i * 7 % 1000);
		OK(map_put(map, key, value));
	}
	struct bpf_map_info was = map_info(map);
	struct latch l = latch_new(), go = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		latch_open(l);
		latch_wait(go);
		OK(map_put(w, "fromchild", "chld"));
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	CHECK(same_description(map, copy));
	map_same(was, map_info(map));
	EQ(map_info(r).id, map_info(map).id);
	for (int i = 0; i < 600; i++) {
		char want[5] = {};
		memset(key, 0, sizeof key);
		sprintf(key, "%d", i);
		sprintf(want, "%d", i * 7 % 1000);
		OK(map_get(r, key, value));
		STR_EQ(value, want);
	}
	ERR(map_get(w, key, value), EPERM);
	ERR(map_put(r, key, value), EPERM);
	memset(key, 0, sizeof key);
	strcpy(key, "600");
	ERR(map_get(map, key, value), ENOENT);
	latch_open(go);
	reap_ok(child);
	OK(map_get(r, "fromchild", value));
	STR_EQ(value, "chld");
	return pass();
}
