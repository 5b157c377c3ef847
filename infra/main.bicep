// Mailroom in Azure: `azd up`, or `az deployment sub create`. What each part is for and how to change it: infra/README.md.
// No secret is a parameter, and nothing signs in with a key: the app's identity opens storage, vault and telemetry.

targetScope = 'subscription'

@description('Names the installation, and with it the resource group.')
@minLength(1)
@maxLength(40)
param environmentName string

@description('Where everything is: a region that has Flex Consumption (az functionapp list-flexconsumption-locations).')
@minLength(1)
@metadata({
  azd: {
    type: 'location'
  }
})
param location string

@description('The resource group. Empty: named for the environment.')
param resourceGroupName string = ''

@description('UserAssigned: an identity of its own, which outlives the app, and with it the rights in Exchange. SystemAssigned: one that ends with the app.')
@allowed([
  'UserAssigned'
  'SystemAssigned'
])
param identityType string = 'UserAssigned'

@description('Object id of who puts secrets into the vault and runs the command against this storage; azd gives whoever runs it. Empty: nobody.')
param principalId string = ''

@allowed([
  'User'
  'Group'
  'ServicePrincipal'
])
param principalType string = 'User'

@description('The mailboxes, without their secrets: { support: { PROTOCOL: \'imap\', HOST: \'imap.example.com\', ADDRESS: \'support@example.com\' } } is MAILBOXES__support__PROTOCOL and so on.')
param mailboxes object = {}

@description('Their secrets, by the names that they have in the vault: { support: { PASSWORD: \'support-password\' } }.')
param mailboxSecrets object = {}

@description('The routes: { sales: { ADDRESS: \'sales@example.com\' } } is ROUTES__sales__ADDRESS.')
param routes object = {}

@description('The secret in the vault that proves a notification of Graph to be meant for us. Empty: the clock alone collects. Put the secret there before this is set.')
param graphKeySecret string = ''

@description('Other values for POLL_SCHEDULE, POLL_BUDGET and their like: { POLL_SCHEDULE: \'0 */5 * * * *\' }.')
param tuning object = {}

@description('MB of memory of an instance.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('Instances at most.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 100

// Graph wants its answer within 3 seconds, and the proof of a new address within 10. A cold start alone can take longer; Graph
// then slows down, and in the end drops, the notifications of an address that is often late. One instance that is always
// ready answers in milliseconds. It is paid for all day, and of no use where Graph notifies nobody.
@description('Instances that are always ready for HTTP, which means for Graph. -1: one if Graph notifies us, else none.')
@minValue(-1)
param alwaysReadyHttp int = -1

@description('The storage account that mail goes to, if there is one already: its resource id. Empty: one is made.')
param existingMailStorageId string = ''

@description('The region of that account, as Azure names it (westeurope). Its event topic is created there. Empty: the region of the app.')
param existingMailStorageLocation string = ''

@description('The container of all mail, and the beginning of the tables\' names: letters and digits.')
@minLength(3)
@maxLength(40)
param mailContainer string = 'mail'

@description('How our own account for mail is copied.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GRS'
  'Standard_RAGRS'
  'Standard_GZRS'
  'Standard_RAGZRS'
])
param mailRedundancy string = 'Standard_ZRS'

@description('Days for which deleted and overwritten mail can be brought back.')
@minValue(1)
@maxValue(365)
param recoverDays int = 7

// These three are off, and say beside their rules in mail/account.bicep what each of them breaks.
@description('Days after which messages go to the cool tier; 0: never. Reading them costs more then.')
@minValue(0)
param coolAfterDays int = 0

@description('Days after which messages go to the archive tier; 0: never. They cannot be read or replayed then until somebody brings them back.')
@minValue(0)
param archiveAfterDays int = 0

@description('Days after which messages, results and records are deleted; 0: never. What nobody handled is gone as well.')
@minValue(0)
param deleteAfterDays int = 0

@description('Make the Event Grid topic of the mail\'s account. An account can have one: false where it has one already.')
param mailEvents bool = empty(existingMailStorageId)

@description('Functions that get an event for each result: [{ name: \'crm\', functionId: \'…\', route: \'sales\' }]. They must be deployed already.')
param consumers array = []

@description('Storage and vault through private endpoints alone, and a fixed address towards mail servers. An operator then has to be in the network as well.')
param privateNetwork bool = false

@description('Who gets alerts by e-mail.')
param alertEmails array = []

@description('Days for which telemetry is kept.')
@minValue(30)
@maxValue(730)
param retentionDays int = 30

// As in azure.yaml.
var serviceName = 'mailroom'
var tags = {
  'azd-env-name': environmentName
}
var token = toLower(uniqueString(subscription().id, environmentName, location))
var prefix = 'mailroom-${token}'
var siteName = 'func-${prefix}'
var userAssigned = identityType == 'UserAssigned'
var ownMailStorage = empty(existingMailStorageId)
var ownMailStorageName = 'stmail${token}'
var publicAccess = privateNetwork ? 'Disabled' : 'Enabled'
var groupName = empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName

// /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.Storage/storageAccounts/NAME
var mailParts = split(existingMailStorageId, '/')
var mailSubscription = ownMailStorage ? subscription().subscriptionId : mailParts[2]
var mailGroup = ownMailStorage ? groupName : mailParts[4]
var mailStorageLocation = ownMailStorage || empty(existingMailStorageLocation) ? location : existingMailStorageLocation
var mailStorageName = ownMailStorage ? ownMailStorageName : last(mailParts)
var mailStorageId = ownMailStorage ? resourceId(subscription().subscriptionId, groupName, 'Microsoft.Storage/storageAccounts', ownMailStorageName) : existingMailStorageId

// A quarter of the time that is asked for: at half of it a subscription is renewed.
var subscriptionMinutes = contains(tuning, 'GRAPH_SUBSCRIPTION_MINUTES') ? int(tuning.GRAPH_SUBSCRIPTION_MINUTES) : 4230

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: groupName
  location: location
  tags: tags
}

module identity 'app/identity.bicep' = if (userAssigned) {
  name: 'identity'
  scope: group
  params: {
    name: 'id-${prefix}'
    location: location
    tags: tags
  }
}

module monitoring 'app/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: 'log-${prefix}'
    insightsName: 'appi-${prefix}'
    location: location
    tags: tags
    retentionDays: retentionDays
  }
}

module alerts 'app/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    prefix: prefix
    emails: alertEmails
    subscriptionLeftSeconds: subscriptionMinutes * 15
  }
}

module storage 'app/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'stapp${token}'
    location: location
    tags: tags
    packageContainer: 'app-package'
    publicAccess: publicAccess
  }
}

module vault 'app/vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: 'kv-${token}'
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    publicAccess: publicAccess
  }
}

module mailStorage 'mail/account.bicep' = if (ownMailStorage) {
  name: 'mail-storage'
  scope: group
  params: {
    name: ownMailStorageName
    location: location
    tags: tags
    container: mailContainer
    redundancy: mailRedundancy
    publicAccess: publicAccess
    recoverDays: recoverDays
    coolAfterDays: coolAfterDays
    archiveAfterDays: archiveAfterDays
    deleteAfterDays: deleteAfterDays
  }
}

module mailData 'mail/data.bicep' = {
  name: 'mail-data'
  scope: resourceGroup(mailSubscription, mailGroup)
  params: {
    accountName: mailStorageName
    container: mailContainer
  }
  dependsOn: [
    group
    mailStorage
  ]
}

module events 'mail/events.bicep' = if (mailEvents) {
  name: 'mail-events'
  scope: resourceGroup(mailSubscription, mailGroup)
  params: {
    accountName: mailStorageName
    topicName: 'evgt-${prefix}'
    location: mailStorageLocation
    tags: tags
    container: mailContainer
    consumers: consumers
  }
  dependsOn: [
    mailData
  ]
}

module network 'app/network.bicep' = if (privateNetwork) {
  name: 'network'
  scope: group
  params: {
    name: 'vnet-${prefix}'
    location: location
    tags: tags
  }
}

module endpoints 'app/endpoints.bicep' = if (privateNetwork) {
  name: 'endpoints'
  scope: group
  params: {
    location: location
    tags: tags
    prefix: 'pep-${prefix}'
    subnetId: privateNetwork ? network!.outputs.endpointSubnetId : ''
    targets: privateNetwork ? [
      {
        name: 'app-blob'
        resourceId: storage.outputs.id
        group: 'blob'
        zoneId: network!.outputs.blobZoneId
      }
      {
        name: 'app-queue'
        resourceId: storage.outputs.id
        group: 'queue'
        zoneId: network!.outputs.queueZoneId
      }
      {
        name: 'app-table'
        resourceId: storage.outputs.id
        group: 'table'
        zoneId: network!.outputs.tableZoneId
      }
      {
        name: 'mail-blob'
        resourceId: mailStorageId
        group: 'blob'
        zoneId: network!.outputs.blobZoneId
      }
      {
        name: 'mail-table'
        resourceId: mailStorageId
        group: 'table'
        zoneId: network!.outputs.tableZoneId
      }
      {
        name: 'vault'
        resourceId: vault.outputs.id
        group: 'vault'
        zoneId: network!.outputs.vaultZoneId
      }
    ] : []
  }
  dependsOn: [
    mailData
  ]
}

module site 'app/site.bicep' = {
  name: 'site'
  scope: group
  params: {
    name: siteName
    planName: 'plan-${prefix}'
    location: location
    tags: tags
    serviceName: serviceName
    identityId: userAssigned ? identity!.outputs.id : ''
    packageUrl: storage.outputs.packageUrl
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyHttp: alwaysReadyHttp >= 0 ? alwaysReadyHttp : (empty(graphKeySecret) ? 0 : 1)
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
  }
  dependsOn: [
    endpoints
  ]
}

module appRoles 'app/roles.bicep' = {
  name: 'app-roles'
  scope: group
  params: {
    appPrincipalId: userAssigned ? identity!.outputs.principalId : site.outputs.principalId
    operatorPrincipalId: principalId
    operatorPrincipalType: principalType
    storageName: storage.outputs.name
    leaseContainer: storage.outputs.leaseContainer
    vaultName: vault.outputs.name
    insightsName: monitoring.outputs.insightsName
  }
}

module mailRoles 'app/roles.bicep' = {
  name: 'mail-roles'
  scope: resourceGroup(mailSubscription, mailGroup)
  params: {
    appPrincipalId: userAssigned ? identity!.outputs.principalId : site.outputs.principalId
    operatorPrincipalId: principalId
    operatorPrincipalType: principalType
    mailStorageName: mailStorageName
    mailContainer: mailData.outputs.container
    mailTables: mailData.outputs.tables
  }
}

module settings 'app/settings.bicep' = {
  name: 'settings'
  scope: group
  params: {
    siteName: site.outputs.name
    hostName: site.outputs.hostName
    storageName: storage.outputs.name
    mailStorageUrl: mailData.outputs.blobUrl
    mailContainer: mailData.outputs.container
    insightsConnectionString: monitoring.outputs.connectionString
    identityClientId: userAssigned ? identity!.outputs.clientId : ''
    vaultUri: vault.outputs.uri
    mailboxes: mailboxes
    mailboxSecrets: mailboxSecrets
    routes: routes
    graphKeySecret: graphKeySecret
    tuning: tuning
  }
  // The rights first: references to the vault are resolved when they are written.
  dependsOn: [
    appRoles
    mailRoles
  ]
}

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_KEY_VAULT_NAME string = vault.outputs.name

@description('func azure functionapp publish NAME')
output AZURE_FUNCTION_APP_NAME string = site.outputs.name

@description('What the operator\'s local.settings.json names: MAIL_STORAGE and AzureWebJobsStorage__accountName.')
output MAIL_STORAGE string = mailData.outputs.blobUrl
output APP_STORAGE_ACCOUNT string = storage.outputs.name
output GRAPH_WEBHOOK_URL string = 'https://${site.outputs.hostName}/api/graph_webhook'

@description('To whom rights in Exchange are given (docs/how-to/office365.md), where a mailbox signs in by managed-identity.')
output IDENTITY_PRINCIPAL_ID string = userAssigned ? identity!.outputs.principalId : site.outputs.principalId
output IDENTITY_CLIENT_ID string = userAssigned ? identity!.outputs.clientId : ''

@description('The topic to subscribe to for results; empty where none was made.')
output RESULTS_TOPIC string = mailEvents ? events!.outputs.topicName : ''

@description('The address by which mail servers see the app; empty: any of Azure\'s.')
output OUTBOUND_ADDRESS string = privateNetwork ? network!.outputs.outboundAddress : ''
