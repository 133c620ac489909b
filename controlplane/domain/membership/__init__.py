"""Who is a member of a cluster: voters that join or leave, brokers that leave, nodes whose disk is lost. Pure."""
