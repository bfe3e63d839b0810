//! The rows of CLUSTER, except for those of the commands that walk through a slot's keys.

/// Makes the rows.
macro_rules! cluster_rows {
    ($make:ident) => {
        $make! {
            /// Questions that the topology answers.
            Cluster(ClusterCommand) in TOPOLOGY {
                Info = "cluster|info" 2 NOT_LOADING NONE CLUSTER
                    ""
                    "Tells whether every slot is served.";
                KeySlot = "cluster|keyslot" 3 CONNECTION NONE CLUSTER
                    "key"
                    "Returns the hash slot of a key.";
                Links = "cluster|links" 2 NOT_LOADING NONE CLUSTER
                    ""
                    "Answers that there is no cluster bus.";
                MyId = "cluster|myid" 2 NOT_LOADING NONE CLUSTER
                    ""
                    "Returns the id of the core that serves the connection.";
                MyShardId = "cluster|myshardid" 2 NOT_LOADING NONE CLUSTER
                    ""
                    "Returns the id of that core's master.";
                Nodes = "cluster|nodes" 2 NOT_LOADING NONE CLUSTER
                    ""
                    "Describes every core of every node.";
                Replicas = "cluster|replicas" 3 NOT_LOADING NONE CLUSTER
                    "id"
                    "Describes the replicas of a master.";
                Shards = "cluster|shards" 2 NOT_LOADING NONE CLUSTER
                    ""
                    "Returns the slots, masters and replicas, by master.";
                Slaves = "cluster|slaves" 3 NOT_LOADING NONE CLUSTER
                    "id"
                    "Describes the replicas of a master.";
                Slots = "cluster|slots" 2 NOT_LOADING NONE CLUSTER
                    ""
                    "Returns the slots, masters and replicas, by slot.";
            }
        }
    };
}
