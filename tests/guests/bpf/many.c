/* Many maps, some empty. */
#include "../bpf.h"
int main(void)
{
	static int map[60];
	for (uint32_t i = 0; i < 60; i++) {
		map[i] = map_create(i % 2 ? BPF_MAP_TYPE_HASH : BPF_MAP_TYPE_ARRAY, 4, 4, i + 1, 0, "many");
		for (uint32_t j = 0; j < (i % 5 ? i : 0); j++) {
			uint32_t value = i * 1000 + j + 1;
			OK(map_put(map[i], &j, &value));
		}
	}
	checkpoint();
	for (uint32_t i = 0; i < 60; i++)
		for (uint32_t j = 0; j < i + 1; j++) {
			uint32_t value = 0, there = j < (i % 5 ? i : 0);
			int found = !map_get(map[i], &j, &value);
			EQ(found, there || i % 2 == 0);
			EQ(value, there ? i * 1000 + j + 1 : 0);
		}
	return pass();
}
