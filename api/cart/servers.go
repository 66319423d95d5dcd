package cart

import "context"

// Servers returns the shards by the address of the Redis server that holds them now, each ascending; "" stands for the
// only one there is, where this is no cluster. A shard whose server isn't known is left out.
func (s *Store) Servers(ctx context.Context) map[string][]int {
	servers := map[string][]int{}
	for client, shards := range s.nodes.byNode(ctx, s.nodes.all()) {
		address := ""
		if s.nodes.cluster != nil {
			address = client.Options().Addr
		}
		servers[address] = shards
	}
	return servers
}
