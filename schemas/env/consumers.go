package env

// Consumers is what consumers alone uses, besides Mail and Timers.
type Consumers struct {
	OpsAddr    string `env:"OPS_ADDR" envDefault:":8090" help:"where health, readiness and metrics of consumers are served, and the ops API"`
	PprofAddr  string `env:"CONSUMERS_PPROF_ADDR" help:"where net/http/pprof of consumers listens; nowhere, where unset"`
	SpoolDir   string `env:"SPOOL_DIR" help:"a volume for dead letters that neither Kafka nor MongoDB takes; none, where unset"`
	SpoolLimit int64  `env:"SPOOL_LIMIT_MIB" envDefault:"256" help:"most that SPOOL_DIR holds, in MiB"`
}
