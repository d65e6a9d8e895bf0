/* The slots of a user probe, without --allow-uprobes. */
#include "../uprobes.h"
int main(void)
{
	probe_once();
	checkpoint();
	CHECK(mapping_named("[uprobes]"));
	EQ(probed(3), 4);
	return pass();
}
