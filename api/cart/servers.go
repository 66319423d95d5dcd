package cart

import "context"

// Servers returns the shards by the address of the Redis server that holds them now, each ascending; "" stands for the
// only one there is, where this is no cluster. A shard whose server isn't known is left out.
func (s *Store) Servers(ctx context.Context) map[string][]int {
	servers := map[string][]int{}
	for shard := range s.nodes.shards() {
		client, err := s.nodes.node(ctx, shard)
		switch {
		case ctx.Err() != nil:
			return servers
		case err != nil:
			continue
		}
		address := ""
		if s.nodes.cluster != nil {
			address = client.Options().Addr
		}
		servers[address] = append(servers[address], shard)
	}
	return servers
}
