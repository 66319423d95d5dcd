package install

// redis needs nothing but Debian's package.
func (c *Cache) redis() step {
	return step{what: "Redis", runs: []program{redisServer, redisCLI}}
}
