// A national cloud. The snapshot shows names, region and settings only: suffixes of services stay expressions, and whether
// Flex Consumption is offered there is not known.
using '../main.bicep'

param environmentName = 'sovereign'
param location = 'usgovvirginia'
param tuning = {
  SIGN_IN_AUTHORITY: 'https://login.microsoftonline.us'
  GRAPH_ENDPOINT: 'https://graph.microsoft.us/v1.0'
}
